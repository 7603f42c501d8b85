#!/usr/bin/env python3
"""PyTorch and PEFT doing what `seal bench` does, for the comparison in docs/PERFORMANCE.md.

    python3 -m venv venv && venv/bin/pip install torch transformers peft safetensors
    seal bench --shape miniature --peer venv/bin/python

`seal bench --peer` starts this file, keeps it alive and sends one JSON object per line on stdin;
each is answered by one line on stdout. So the blocks of both sides alternate within one run.

    {"do": "load", "folder", "adapter", "threads", "learning_rate", "steps", "device", "dtype"}
    {"do": "check", "sequences", "steps"}   all sequences in every step -> their losses
    {"do": "train", "sequences", "steps", "padded_to": null | tokens} -> seconds, later_step_s
    {"do": "answer", "prompts", "new_tokens", "batched", "merged"}    -> seconds, tokens
    {"do": "end"}

What is fair to PyTorch: the base is frozen and gets no gradient, no token is padding, the optimizer
is the fused AdamW, attention is torch's own fused kernel, answers use the key/value cache and
inference mode. One candidate is trained after another with batches of one sequence, as SEAL trains;
its adapter is drawn anew in place, which costs less than making a new one.
"""

import json
import os
import sys
import time
import warnings

os.environ["HF_HUB_OFFLINE"] = "1"
warnings.filterwarnings("ignore")

import peft
import torch
import transformers
from peft import PeftModel
from transformers import AutoModelForCausalLM

transformers.logging.set_verbosity_error()
IGNORED = -100


class Peer:
    def load(self, folder, adapter, threads, learning_rate, steps, device="cpu",
             dtype="float32"):
        """Loads the base and the adapter both sides begin with."""
        torch.set_num_threads(threads)
        base = AutoModelForCausalLM.from_pretrained(
            folder, dtype=getattr(torch, dtype), attn_implementation="sdpa").to(device)
        # The adapter stays f32 beside a base in bf16, as PEFT does it by itself.
        self.device = device
        self.model = PeftModel.from_pretrained(base, adapter, is_trainable=True)
        self.model.generation_config.eos_token_id = None
        self.factors = [p for p in self.model.parameters() if p.requires_grad]
        self.start = [p.detach().clone() for p in self.factors]
        self.learning_rate, self.steps = learning_rate, steps
        self.begin()
        return {"torch": torch.__version__, "transformers": transformers.__version__,
                "peft": peft.__version__, "threads": torch.get_num_threads(),
                "capability": (torch.cuda.get_device_name() if device != "cpu"
                               else torch.backends.cpu.get_cpu_capability()),
                "trainable": sum(p.numel() for p in self.factors)}

    def begin(self):
        """A fresh adapter and optimizer: the next candidate."""
        with torch.no_grad():
            for factor, start in zip(self.factors, self.start):
                factor.copy_(start)
        self.optimizer = torch.optim.AdamW(
            self.factors, lr=self.learning_rate, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0,
            fused=True)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: max(0.0, 1 - step / self.steps))

    def check(self, sequences, steps):
        """Losses of steps on all sequences, each token weighing the same."""
        self.model.train()
        trained = sum(len(tokens) - 1 for tokens in sequences)
        losses = []
        self.steps, kept = steps, self.steps
        self.begin()
        for _ in range(steps):
            total = 0.0
            for tokens in sequences:
                ids = torch.tensor([tokens], device=self.device)
                loss = self.model(input_ids=ids, labels=ids).loss * (len(tokens) - 1) / trained
                loss.backward()
                total += loss.item()
            self.update()
            losses.append(total)
        self.steps = kept
        self.begin()
        return {"losses": losses}

    def train(self, sequences, steps, padded_to=None):
        """Optimizer steps of one candidate, each on one sequence."""
        self.begin()
        self.model.train()
        began = first = self.now()
        losses = []
        for step in range(steps):
            tokens = sequences[step % len(sequences)]
            padding = 0 if padded_to is None else padded_to - len(tokens)
            # The published procedure pads with a token, masks it from attention, not from the loss.
            ids = torch.tensor([tokens + [0] * padding], device=self.device)
            mask = torch.tensor([[1] * len(tokens) + [0] * padding],
                                device=self.device) if padding else None
            loss = self.model(input_ids=ids, attention_mask=mask, labels=ids).loss
            loss.backward()
            self.update()
            losses.append(loss.detach())  # read at the end: no step waits for the device
            if step == 0:
                first = self.now()
        ended = self.now()
        later = (ended - first) / max(1, steps - 1)
        return {"seconds": ended - began, "later_step_s": later,
                "losses": torch.stack(losses).tolist()}

    def now(self):
        if self.device != "cpu":
            torch.cuda.synchronize()
        return time.perf_counter()

    def update(self):
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad(set_to_none=True)

    @torch.inference_mode()
    def answer(self, prompts, new_tokens, batched=False, merged=False):
        """Greedy answers: one prompt after another, or all (equally long) prompts as one batch."""
        self.model.eval()
        batches = [prompts] if batched else [[prompt] for prompt in prompts]
        began = self.now()
        if merged:
            self.model.merge_adapter()
        texts = []
        for batch in batches:
            ids = torch.tensor(batch, device=self.device)
            made = self.model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False,
                max_new_tokens=new_tokens, use_cache=True, pad_token_id=0)
            texts += made[:, ids.shape[1]:].tolist()
        if merged:
            self.model.unmerge_adapter()
        seconds = self.now() - began
        return {"seconds": seconds, "tokens": sum(map(len, texts)), "first": texts[0]}


def main():
    peer, out = Peer(), os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not look like an answer
    for line in sys.stdin:
        request = json.loads(line)
        do = request.pop("do")
        if do == "end":
            break
        print(json.dumps(getattr(peer, do)(**request)), file=out, flush=True)


if __name__ == "__main__":
    main()
