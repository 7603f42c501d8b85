#!/usr/bin/env python3
"""Golden vectors of the training options, from transformers and PEFT.

    venv/bin/python tests/peers/make_training_golden.py            # rewrites shared/training/tests/golden
    venv/bin/python tests/peers/make_training_golden.py --check    # recomputes, compares, writes nothing

`schedules.json`: the learning rate at each step of transformers' schedulers, as factors of the peak.

`options.safetensors`, over the model, the batch and the adapters in shared/model/tests/golden/llama:

    rslora.gradient.{name}, rslora.gradient.loss     adapter/ with use_rslora
    rslora.curve                                     20 AdamW steps from A of adapter/ and B = 0, with use_rslora
    dropout.gradient.{name}, dropout.gradient.loss   adapter/ with lora_dropout, masks of step 0
    dropout.curve                                    the same with lora_dropout
    dropout.mask.{step}.{layer}.{projection}         the factors of the first rows, as one check more

PEFT draws its masks from PyTorch's generator. Here its dropout modules are replaced by ones that
draw ours, from a second implementation of ChaCha8 below: key = seed, step, "LoRA dropout /v1";
stream = layer * 7 + projection; one word for each element, rows of the step one after another.
"""

import argparse
import json
import math
from pathlib import Path

import numpy as np
import torch
import transformers
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from make_golden import LEARNING_RATE, PROJECTIONS, STEPS, factors, load

ROOT = Path(__file__).resolve().parents[2]
OUTPUT = ROOT / "shared/training/tests/golden"
MODEL = ROOT / "shared/model/tests/golden/llama"
SEED, DROPOUT = 77, 0.25


# --- schedules -----------------------------------------------------------------------------------

# name, steps, warm-up steps, warm-up as a share of the steps
SCHEDULES = [
    ("constant", 12, 0, 0.0),
    ("constant_with_warmup", 12, 5, 0.0),
    ("linear", 12, 0, 0.0),
    ("linear", 14, 4, 0.0),
    ("linear", 13, 0, 0.3),
    ("cosine", 12, 0, 0.0),
    ("cosine", 15, 3, 0.0),
    ("cosine", 12, 0, 0.1),
]


def rates(name, steps, warmup_steps, warmup_ratio):
    warmup = warmup_steps or math.ceil(steps * warmup_ratio)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = transformers.get_scheduler(
        name, optimizer, num_warmup_steps=warmup, num_training_steps=steps)
    found = []
    for _ in range(steps):
        found.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return found


def schedules():
    keys = ["lr_scheduler_type", "steps", "warmup_steps", "warmup_ratio"]
    return [dict(zip(keys, row), factors=rates(*row)) for row in SCHEDULES]


# --- masks ---------------------------------------------------------------------------------------

def chacha8(key, stream, first_word, count):
    """Words `first_word..first_word+count` of ChaCha8's key stream."""
    first_block, last_block = first_word // 16, (first_word + count - 1) // 16
    counters = np.arange(first_block, last_block + 1, dtype=np.uint64)
    low = np.uint64(0xFFFFFFFF)
    state = np.zeros((16, len(counters)), dtype=np.uint32)
    state[:4] = np.frombuffer(b"expand 32-byte k", dtype="<u4")[:, None]
    state[4:12] = np.frombuffer(key, dtype="<u4")[:, None]
    state[12], state[13] = counters & low, counters >> np.uint64(32)
    state[14], state[15] = stream & 0xFFFFFFFF, stream >> 32
    x = state.copy()

    def rotate(v, by):
        return (v << np.uint32(by)) | (v >> np.uint32(32 - by))

    def quarter(a, b, c, d):
        for left, right, into, by in [(a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)]:
            x[left] += x[right]
            x[into] = rotate(x[into] ^ x[left], by)

    for _ in range(4):
        for i in range(4):
            quarter(i, 4 + i, 8 + i, 12 + i)
        for i in range(4):
            quarter(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
    words = (x + state).T.reshape(-1)
    skip = first_word - 16 * first_block
    return words[skip:skip + count]


def mask(step, layer, projection, first_row, rows, width):
    key = SEED.to_bytes(8, "little") + step.to_bytes(8, "little") + b"LoRA dropout /v1"
    stream = layer * len(PROJECTIONS) + PROJECTIONS.index(projection)
    words = chacha8(key, stream, first_row * width, rows * width).reshape(rows, width)
    kept = words.astype(np.uint64) >= np.uint64(int(DROPOUT * 2**32))
    return torch.from_numpy(kept.astype(np.float32) * np.float32(1 / (1 - DROPOUT)))


class Where:
    step, first_row = 0, 0


class OurDropout(torch.nn.Module):
    def __init__(self, layer, projection):
        super().__init__()
        self.place = (layer, projection)

    def forward(self, x):
        factors = mask(Where.step, *self.place, Where.first_row, x.shape[-2], x.shape[-1])
        return x * factors


# --- training ------------------------------------------------------------------------------------

def adapted(zero_b, use_rslora=False, dropout=0.0):
    given = json.loads((MODEL / "adapter" / "adapter_config.json").read_text())
    model = get_peft_model(load(MODEL), LoraConfig(
        r=given["r"], lora_alpha=given["lora_alpha"], lora_dropout=dropout,
        use_rslora=use_rslora, target_modules=PROJECTIONS, task_type="CAUSAL_LM"))
    saved = load_file(MODEL / "adapter" / "adapter_model.safetensors")
    with torch.no_grad():
        for name, factor in factors(model).items():
            factor.copy_(saved[name] * (0.0 if zero_b and "lora_B" in name else 1.0))
    for name, module in list(model.named_modules()):
        if dropout and name.endswith("lora_dropout"):
            parts = name.split(".")
            assert isinstance(module["default"], torch.nn.Dropout), "PEFT drops where we do"
            layer, projection = int(parts[parts.index("layers") + 1]), parts[-2]
            module["default"] = OurDropout(layer, projection)
    return model.train(bool(dropout))


def batch_loss(model, batch):
    Where.first_row, total = 0, torch.zeros(())
    for ids, weight in batch:
        logits = model(input_ids=ids[None], use_cache=False).logits[0]
        nats = torch.nn.functional.cross_entropy(logits[:-1], ids[1:], reduction="none")
        total = total + (nats * weight[1:]).sum()
        # The last token predicts nothing, so it is no row of ours.
        Where.first_row += len(ids) - 1
    return total / sum(weight[1:].sum() for _, weight in batch)


def gradients(batch, prefix, **options):
    Where.step = 0
    model = adapted(zero_b=False, **options)
    loss = batch_loss(model, batch)
    loss.backward()
    named = {f"{prefix}.gradient.{name}": factor.grad for name, factor in factors(model).items()}
    return named | {f"{prefix}.gradient.loss": loss.detach()[None]}


def curve(batch, **options):
    model = adapted(zero_b=True, **options)
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(
        trained, lr=LEARNING_RATE, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, 0, STEPS)
    losses = []
    for Where.step in range(STEPS):
        optimizer.zero_grad()
        loss = batch_loss(model, batch)
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return torch.tensor(losses)


def options():
    given = load_file(MODEL / "golden.safetensors")
    count = sum(name.startswith("batch.ids.") for name in given)
    batch = [(given[f"batch.ids.{n}"], given[f"batch.weights.{n}"]) for n in range(count)]
    assert all(weight[-1] > 0 for _, weight in batch), "every last token is trained"
    vectors = {}
    for prefix, chosen in [("rslora", dict(use_rslora=True)), ("dropout", dict(dropout=DROPOUT))]:
        vectors |= gradients(batch, prefix, **chosen)
        vectors[f"{prefix}.curve"] = curve(batch, **chosen)
        losses = vectors[f"{prefix}.curve"]
        print(f"{prefix}: {losses[0]:.4f} -> {losses[-1]:.4f}")
    for step, layer, projection in [(0, 0, "q_proj"), (3, 1, "down_proj")]:
        vectors[f"dropout.mask.{step}.{layer}.{projection}"] = mask(step, layer, projection, 5, 3, 24)
    return {name: tensor.contiguous() for name, tensor in vectors.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the committed vectors")
    arguments = parser.parse_args()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    rows, vectors = schedules(), options()
    if not arguments.check:
        OUTPUT.mkdir(parents=True, exist_ok=True)
        text = ",\n".join(json.dumps(row) for row in rows)
        (OUTPUT / "schedules.json").write_text(f"[\n{text}\n]\n")
        save_file(vectors, OUTPUT / "options.safetensors")
        return
    old = json.loads((OUTPUT / "schedules.json").read_text())
    worst = max(abs(a - b) for o, n in zip(old, rows) for a, b in zip(o["factors"], n["factors"]))
    committed = load_file(OUTPUT / "options.safetensors")
    assert committed.keys() == vectors.keys() and len(old) == len(rows), "other vectors"
    worst = max([worst] + [(committed[k] - vectors[k]).abs().max().item() for k in vectors])
    print(f"largest difference from the committed vectors {worst:.2e}")
    assert worst < 1e-4, "the committed vectors are not reproduced"


if __name__ == "__main__":
    main()
