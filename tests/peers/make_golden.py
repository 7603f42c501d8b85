#!/usr/bin/env python3
"""Golden vectors for shared/model and shared/training, computed by transformers and PEFT.

    python3 -m venv venv && venv/bin/pip install torch transformers peft safetensors
    venv/bin/python tests/peers/make_golden.py            # writes shared/model/tests/golden
    venv/bin/python tests/peers/make_golden.py --check    # recomputes, compares, writes nothing

Every folder below the output folder is one tiny model with seeded random weights, as
`save_pretrained` writes it: each family once plain, `{family}`, and once with every option it has,
`{family}_full`. Beside the model lies PEFT's adapter in adapter/, and `golden.safetensors`:

    ids.{n}             token ids of a sequence (ragged, i64)
    logits.{n}          [tokens, vocabulary], f32, base model
    adapter.logits.{n}  the same sequences with the adapter
    greedy.prompt, greedy.tokens    64 tokens of greedy continuation
    batch.ids.{n}, batch.weights.{n}    a training batch; weight t says how much token t is trained
    gradient.{name}     d loss / d factor at adapter/, names as in adapter_model.safetensors
    gradient.loss       loss = sum(weight * cross-entropy) / sum(weight), nats
    curve.{plain,clipped}    losses before each of 20 AdamW steps, started from A of adapter/, B = 0
    final.{name}        factors after the 20 plain steps (llama)
    full.gradient.{name}    [norm, sum(cos(i) * g[i])] of the gradient of every weight
    full.curve          losses before each of 20 AdamW steps on every weight: clipped, and matrices
                        decayed by 0.1 as Hugging Face's trainer does

Committed with the versions printed at the end. Another version may name fields of config.json
differently, which `--check` notes; the numbers must come out the same up to float rounding.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # PEFT asks the hub for the base of an adapter it saves

import peft
import safetensors.torch
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from check_peft_load import save_adapter

OUTPUT = Path(__file__).resolve().parents[2] / "shared/model/tests/golden"
PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
GREEDY_TOKENS = 64
# Below this distance between the best and the second logit, rounding could choose for us.
GREEDY_MARGIN = 0.01
STEPS, LEARNING_RATE, MAX_NORM = 20, 1e-3, 0.5

COMMON = dict(
    vocab_size=41,
    hidden_size=16,
    intermediate_size=20,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=256,
    rms_norm_eps=1e-5,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=0,
    dtype="float32",
)
# Heads wider than hidden_size / heads, so a reader must heed head_dim.
OWN_HEADS = dict(head_dim=6)
PLAIN_ROPE = dict(rope_type="default", rope_theta=10000.0)
LLAMA3_ROPE = dict(rope_type="llama3", rope_theta=10000.0, factor=4.0, low_freq_factor=1.0,
                   high_freq_factor=4.0, original_max_position_embeddings=16)
YARN_ROPE = dict(rope_type="yarn", rope_theta=1e6, factor=4.0,
                 original_max_position_embeddings=64)
LINEAR_ROPE = dict(rope_type="linear", rope_theta=10000.0, factor=2.0)


@dataclass
class Model:
    """A configuration, the seed of its weights, and how `save_pretrained` stores them."""
    config: transformers.PreTrainedConfig
    seed: int
    dtype: torch.dtype = torch.float32
    max_shard_size: str = "50GB"


MODELS = {
    "llama": Model(transformers.LlamaConfig(
        **COMMON | dict(num_key_value_heads=None), tie_word_embeddings=True,
        rope_parameters=PLAIN_ROPE), 11),
    "llama_full": Model(transformers.LlamaConfig(
        **COMMON, **OWN_HEADS, tie_word_embeddings=False, attention_bias=True, mlp_bias=True,
        rope_parameters=LLAMA3_ROPE), 12),
    "mistral": Model(transformers.MistralConfig(
        **COMMON, sliding_window=None, tie_word_embeddings=False,
        rope_parameters=PLAIN_ROPE), 13),
    "mistral_full": Model(transformers.MistralConfig(
        **COMMON, **OWN_HEADS, sliding_window=5, tie_word_embeddings=True,
        rope_parameters=LINEAR_ROPE), 14, torch.float16),
    "qwen2": Model(transformers.Qwen2Config(
        **COMMON, tie_word_embeddings=False, rope_parameters=PLAIN_ROPE), 15),
    "qwen2_full": Model(transformers.Qwen2Config(
        **COMMON, **OWN_HEADS, tie_word_embeddings=True, use_sliding_window=True,
        sliding_window=5, max_window_layers=1, rope_parameters=YARN_ROPE), 16),
    "qwen3": Model(transformers.Qwen3Config(
        **COMMON, **OWN_HEADS, tie_word_embeddings=True, rope_parameters=PLAIN_ROPE), 17),
    "qwen3_full": Model(transformers.Qwen3Config(
        **COMMON, head_dim=8, tie_word_embeddings=False, attention_bias=True,
        use_sliding_window=True, sliding_window=7,
        layer_types=["sliding_attention", "full_attention"],
        rope_parameters=dict(rope_type="default", rope_theta=1e6)), 18, torch.bfloat16, "4KB"),
}


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def random_model(config, seed):
    """Weights far from their usual tiny start, so that logits differ by whole nats."""
    model = AutoModelForCausalLM.from_config(config)
    draw = seeded(seed)
    with torch.no_grad():
        for name, weight in sorted(model.named_parameters()):
            noise = torch.randn(weight.shape, generator=draw)
            weight.copy_(1 + 0.2 * noise if "norm" in name else 0.35 * noise)
    return model


def load(folder, config=None):
    """The model of a folder, computed in f32 however it is stored."""
    model = AutoModelForCausalLM.from_pretrained(
        folder, config=config, dtype=torch.float32, attn_implementation="eager")
    return model.eval()


def random_ids(config, lengths, seed):
    draw = seeded(seed)
    return [torch.randint(3, config.vocab_size, (n,), generator=draw) for n in lengths]


def logits_of(model, ids):
    with torch.no_grad():
        return model(input_ids=ids[None], use_cache=False).logits[0].clone()


def greedy(model, prompt):
    tokens = prompt.tolist()
    for _ in range(GREEDY_TOKENS):
        last = logits_of(model, torch.tensor(tokens))[-1]
        best = last.topk(2).values
        if best[0] - best[1] < GREEDY_MARGIN:
            return None
        tokens.append(int(last.argmax()))
    return torch.tensor(tokens[len(prompt):])


def decidable_greedy(model, config, seed):
    """The first prompt with 64 clear choices, no end token and no short loop at the end."""
    for attempt in range(500):
        (prompt,) = random_ids(config, [5], seed * 1000 + attempt)
        tokens = greedy(model, prompt)
        if tokens is None or config.eos_token_id in tokens:
            continue
        if len(set(tokens[-32:].tolist())) >= 4:
            return {"greedy.prompt": prompt, "greedy.tokens": tokens}
    sys.exit("no prompt with a clear greedy continuation: change the model's seed")


def with_adapter(folder, seed, zero_b):
    model = get_peft_model(load(folder), LoraConfig(
        r=2, lora_alpha=4, lora_dropout=0.0, target_modules=PROJECTIONS, task_type="CAUSAL_LM"))
    draw = seeded(seed)
    with torch.no_grad():
        for name, factor in sorted(factors(model).items()):
            factor.copy_(0.2 * torch.randn(factor.shape, generator=draw))
            if zero_b and "lora_B" in name:
                factor.zero_()
    return model


def factors(model):
    """LoRA factors by the names PEFT gives them on disk."""
    return {name.replace(".default", ""): parameter
            for name, parameter in model.named_parameters() if parameter.requires_grad}


def training_batch(config, seed):
    """Ragged sequences; the first half of each is a prompt that carries no loss."""
    batch = random_ids(config, [9, 30, 6], seed)
    weights = [share * (torch.arange(len(ids)) >= len(ids) // 2).float()
               for ids, share in zip(batch, [1.0, 0.5, 2.0])]
    return batch, weights


def batch_loss(model, batch, weights):
    total = torch.zeros(())
    for ids, weight in zip(batch, weights):
        logits = model(input_ids=ids[None], use_cache=False).logits[0]
        nats = torch.nn.functional.cross_entropy(logits[:-1], ids[1:], reduction="none")
        total = total + (nats * weight[1:]).sum()
    return total / sum(weight[1:].sum() for weight in weights)


def loss_curve(model, batch, weights, max_norm, weight_decay=0.0):
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    matrices = [weight for weight in trained if weight.ndim == 2]
    vectors = [weight for weight in trained if weight.ndim != 2]
    optimizer = torch.optim.AdamW(
        [dict(params=matrices, weight_decay=weight_decay), dict(params=vectors, weight_decay=0.0)],
        lr=LEARNING_RATE, betas=(0.9, 0.999), eps=1e-8)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / STEPS)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = batch_loss(model, batch, weights)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(trained, max_norm or float("inf"))
        assert max_norm is None or norm > max_norm, "clipping must bind, else it is not tested"
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return torch.tensor(losses)


def training_vectors(folder, config, seed, ids):
    golden = {}
    save_adapter(with_adapter(folder, seed + 100, zero_b=False), folder / "adapter")
    model = PeftModel.from_pretrained(load(folder), folder / "adapter", is_trainable=True)
    for n, sequence in enumerate(ids):
        golden[f"adapter.logits.{n}"] = logits_of(model, sequence)
    batch, weights = training_batch(config, seed + 200)
    for n, (sequence, weight) in enumerate(zip(batch, weights)):
        golden |= {f"batch.ids.{n}": sequence, f"batch.weights.{n}": weight}
    loss = batch_loss(model, batch, weights)
    loss.backward()
    golden["gradient.loss"] = loss.detach()[None]
    golden |= {f"gradient.{name}": factor.grad for name, factor in factors(model).items()}
    golden |= full_vectors(folder, batch, weights)
    for name, max_norm in [("plain", None), ("clipped", MAX_NORM)]:
        model = with_adapter(folder, seed + 100, zero_b=True)
        golden[f"curve.{name}"] = loss_curve(model, batch, weights, max_norm)
        if name == "plain" and folder.name == "llama":
            golden |= {f"final.{key}": value.detach() for key, value in factors(model).items()}
    return golden


def full_vectors(folder, batch, weights):
    model = load(folder)
    batch_loss(model, batch, weights).backward()
    golden = {f"full.gradient.{name}": fingerprint(weight.grad)
              for name, weight in model.named_parameters()}
    curve = loss_curve(model, batch, weights, MAX_NORM, weight_decay=0.1)
    return golden | {"full.curve": curve}


def fingerprint(gradient):
    flat = gradient.double().flatten()
    return torch.stack([flat.norm(), flat @ torch.arange(len(flat)).double().cos()]).float()


def make(name, output):
    model = MODELS[name]
    config, seed, folder = model.config, model.seed, output / name
    shutil.rmtree(folder, ignore_errors=True)
    random_model(config, seed).to(model.dtype).save_pretrained(
        folder, max_shard_size=model.max_shard_size)
    model = load(folder)
    # The last one is longer than every window and than one vector of 16 keys.
    ids = random_ids(config, [1, 7, 40], seed + 1)
    golden = decidable_greedy(model, config, seed)
    for n, sequence in enumerate(ids):
        golden |= {f"ids.{n}": sequence, f"logits.{n}": logits_of(model, sequence)}
    check_that_options_matter(folder, ids[-1], golden[f"logits.{len(ids) - 1}"])
    golden |= training_vectors(folder, config, seed, ids)
    save(golden, folder / "golden.safetensors")
    spread = golden[f"logits.{len(ids) - 1}"].std().item()
    assert spread > 1, f"the logits of {name} hardly differ ({spread})"
    print(f"{name}: logits spread {spread:.2f}", *[
        f"{key} {value[0]:.4f} -> {value[-1]:.4f}"
        for key, value in golden.items() if "curve" in key])


def check_that_options_matter(folder, ids, reference):
    """Without its window or its scaling the model answers differently, so a reader must heed them."""
    config = transformers.AutoConfig.from_pretrained(folder)
    without = []
    if config.rope_parameters["rope_type"] != "default":
        theta = config.rope_parameters["rope_theta"]
        without.append(dict(rope_parameters=dict(rope_type="default", rope_theta=theta)))
    if getattr(config, "sliding_window", None) is not None:
        full = ["full_attention"] * config.num_hidden_layers
        types = {} if config.model_type == "mistral" else dict(layer_types=full)
        without.append(dict(sliding_window=None, **types))
    for change in without:
        changed = transformers.AutoConfig.from_pretrained(folder)
        for field, value in change.items():
            setattr(changed, field, value)
        logits = logits_of(load(folder, changed), ids)
        moved = (logits - reference).abs().max().item()
        assert moved > 0.1, f"{folder.name}: {change} changes the logits by {moved} only"


def save(tensors, path):
    safetensors.torch.save_file({k: v.detach().contiguous() for k, v in tensors.items()}, path)


def largest_difference(old, new):
    """Over all files of tensors; every other file must be equal byte for byte."""
    worst = 0.0
    for path in sorted(p for p in old.rglob("*") if p.is_file()):
        other = new / path.relative_to(old)
        if path.suffix != ".safetensors":
            if path.read_bytes() != other.read_bytes():
                print(f"note: {path.relative_to(old)} differs (another version of the library?)")
            continue
        a, b = safetensors.torch.load_file(path), safetensors.torch.load_file(other)
        assert a.keys() == b.keys(), f"{path.relative_to(old)}: other tensors"
        for key in a:
            worst = max(worst, (a[key].double() - b[key].double()).abs().max().item())
    return worst


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the committed vectors")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    transformers.utils.logging.disable_progress_bar()
    warnings.filterwarnings("ignore", module="peft")
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch) if arguments.check else arguments.output
        for name in MODELS:
            make(name, target)
        if arguments.check:
            for name in MODELS:
                worst = largest_difference(arguments.output / name, target / name)
                print(f"{name}: largest difference from the committed vectors {worst:.2e}")
                assert worst < 1e-4, "the committed vectors are not reproduced"
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, "
          f"peft {peft.__version__}")


if __name__ == "__main__":
    main()
