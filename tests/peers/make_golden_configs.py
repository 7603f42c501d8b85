#!/usr/bin/env python3
"""What transformers makes of the config.json that people bring: layouts, defaults, odd corners.

    venv/bin/python tests/peers/make_golden_configs.py            # writes the vectors
    venv/bin/python tests/peers/make_golden_configs.py --check    # compares with the committed ones

Writes shared/model/tests/golden/configs.json: for each case the `config` and either `refused`, or
what a model built from it has: `inv_freq` and `attention_factor` of its rotary embedding, `windows`
of its layers, `parameters` (name and shape, outside the layers and in layer 1), `positions`, `bos`
and `eos`. Refused is what transformers cannot build or run.
"""

import argparse
import json
import tempfile
from pathlib import Path

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

GOLDEN = Path(__file__).resolve().parents[2] / "shared/model/tests/golden/configs.json"
FAMILIES = {"llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM",
            "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}
SIZES = dict(vocab_size=7, hidden_size=8, intermediate_size=4, num_hidden_layers=3,
             num_attention_heads=2)
LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=8192)
LLAMA31 = dict(head_dim=128, max_position_embeddings=131072, rope_theta=500000.0)
YARN = dict(type="yarn", factor=4.0, original_max_position_embeddings=32768)
QWEN25 = dict(head_dim=128, max_position_embeddings=131072, rope_theta=1000000)
WINDOW = dict(use_sliding_window=True, sliding_window=6)
SLIDING, FULL = "sliding_attention", "full_attention"

# (family, fields); key/value heads are given unless the case is about them.
CASES = {
    "llama, silent": ("llama", {}),
    "llama, its end tokens": ("llama", dict(bos_token_id=None, eos_token_id=[4, 5])),
    "llama, no end token": ("llama", dict(eos_token_id=None)),
    "llama, biases": ("llama", dict(attention_bias=True, mlp_bias=True)),
    "llama, tied": ("llama", dict(tie_word_embeddings=True)),
    "llama, null heads": ("llama", dict(num_key_value_heads=None, head_dim=None)),
    "llama 3.1, as transformers 4 writes it": ("llama", LLAMA31 | dict(rope_scaling=LLAMA3)),
    "llama 3.1, as transformers 5 writes it": ("llama", dict(
        head_dim=128, max_position_embeddings=131072,
        rope_parameters=LLAMA3 | dict(rope_theta=500000.0))),
    "llama 3.2": ("llama", LLAMA31 | dict(head_dim=64, rope_scaling=LLAMA3 | dict(factor=32.0))),
    "llama3, first length outside": ("llama", LLAMA31 | dict(
        original_max_position_embeddings=4096,
        rope_scaling={k: v for k, v in LLAMA3.items() if not k.startswith("original")})),
    "llama3, first length inside and outside": ("llama", LLAMA31 | dict(
        original_max_position_embeddings=4096, rope_scaling=LLAMA3)),
    "llama3, no first length": ("llama", LLAMA31 | dict(
        max_position_embeddings=4096,
        rope_scaling={k: v for k, v in LLAMA3.items() if not k.startswith("original")})),
    "llama3, no factor": ("llama", LLAMA31 | dict(
        rope_scaling={k: v for k, v in LLAMA3.items() if k != "factor"})),
    "two rope objects": ("llama", dict(
        head_dim=16, rope_theta=300.0, rope_scaling=dict(rope_type="linear", factor=2.0),
        rope_parameters=dict(rope_type="default", rope_theta=700.0))),
    "an empty rope object": ("llama", dict(
        head_dim=16, rope_scaling={}, rope_parameters=dict(rope_theta=700.0))),
    "theta inside and outside": ("llama", dict(
        head_dim=16, rope_theta=300.0, rope_scaling=dict(type="linear", factor=3,
                                                         rope_theta=700.0))),
    "two rope types": ("llama", dict(
        head_dim=16, rope_scaling=dict(type="linear", rope_type="default", factor=3.0))),
    "a factor without a type": ("llama", dict(head_dim=16, rope_scaling=dict(factor=3.0))),
    "linear, no factor": ("llama", dict(rope_scaling=dict(type="linear"))),
    "qwen2.5, yarn": ("qwen2", QWEN25 | dict(rope_scaling=YARN)),
    "yarn, magnitude given": ("qwen2", QWEN25 | dict(
        rope_scaling=YARN | dict(attention_factor=1.3))),
    "yarn, magnitude of two scales": ("qwen2", QWEN25 | dict(
        rope_scaling=YARN | dict(mscale=0.7, mscale_all_dim=1.1))),
    "yarn, one scale of two": ("qwen2", QWEN25 | dict(
        rope_scaling=YARN | dict(mscale=0.7, mscale_all_dim=0))),
    "yarn, another ramp": ("qwen2", QWEN25 | dict(
        rope_scaling=YARN | dict(beta_fast=20, beta_slow=2.5, truncate=False))),
    "yarn, a ramp of no width": ("qwen2", QWEN25 | dict(
        head_dim=4, rope_scaling=YARN | dict(beta_fast=1e9, beta_slow=1e8))),
    "yarn, no ramp given": ("qwen2", QWEN25 | dict(
        rope_scaling=YARN | dict(beta_fast=None, beta_slow=0))),
    "yarn, null factor": ("qwen2", QWEN25 | dict(rope_scaling=YARN | dict(factor=None))),
    "yarn, no factor": ("qwen2", QWEN25 | dict(
        rope_scaling={k: v for k, v in YARN.items() if k != "factor"})),
    "rope by layer type": ("qwen2", dict(
        rope_parameters={FULL: dict(rope_type="default", rope_theta=10000.0)})),
    "mistral, silent": ("mistral", {}),
    "mistral, no window": ("mistral", dict(sliding_window=None)),
    "mistral, a window": ("mistral", dict(sliding_window=6, use_sliding_window=False)),
    "mistral, bias off": ("mistral", dict(attention_bias=False)),
    "qwen2, silent": ("qwen2", {}),
    "qwen2, own heads": ("qwen2", dict(head_dim=6, attention_bias=True)),
    "qwen2, null key/value heads": ("qwen2", dict(num_key_value_heads=None)),
    "qwen2, a window switched off": ("qwen2", dict(sliding_window=6, max_window_layers=0)),
    "qwen2, a window above all layers": ("qwen2", WINDOW),
    "qwen2, a window in the upper layers": ("qwen2", WINDOW | dict(max_window_layers=1)),
    "qwen2, a window of no size": ("qwen2", WINDOW | dict(
        max_window_layers=1, sliding_window=None)),
    "qwen2, a window of the usual size": ("qwen2", dict(
        use_sliding_window=True, max_window_layers=2)),
    "qwen2, windows by name": ("qwen2", WINDOW | dict(layer_types=[SLIDING, FULL, SLIDING])),
    "qwen2, old names": ("qwen2", WINDOW | dict(layer_types=["attention", SLIDING, FULL])),
    "qwen2, full by name": ("qwen2", WINDOW | dict(
        max_window_layers=0, layer_types=[FULL, FULL, FULL])),
    "qwen2, a name without a window": ("qwen2", dict(layer_types=[SLIDING, FULL, FULL])),
    "qwen2, too few names": ("qwen2", WINDOW | dict(layer_types=[SLIDING])),
    "qwen3, silent": ("qwen3", {}),
    "qwen3, biases": ("qwen3", dict(head_dim=6, attention_bias=True)),
    "qwen3, null heads": ("qwen3", dict(head_dim=None)),
    "qwen3, windows by name": ("qwen3", WINDOW | dict(
        head_dim=4, layer_types=[FULL, SLIDING, FULL])),
}


def config_of(family, fields):
    return (dict(architectures=[FAMILIES[family]], model_type=family, num_key_value_heads=1)
            | SIZES | fields)


def windows(model):
    if model.config.model_type == "llama":
        return [None] * model.config.num_hidden_layers
    if model.config.model_type == "mistral":
        return [model.config.sliding_window] * model.config.num_hidden_layers
    return [layer.self_attn.sliding_window for layer in model.model.layers]


def judge(config):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(json.dumps(config))
        read = AutoConfig.from_pretrained(folder)
    model = AutoModelForCausalLM.from_config(read, attn_implementation="eager")
    model(input_ids=torch.tensor([[1, 2, 3]]), use_cache=False)
    rotary = model.model.rotary_emb
    eos = read.eos_token_id
    return {
        "inv_freq": rotary.inv_freq.tolist(),
        "attention_factor": rotary.attention_scaling,
        "windows": windows(model),
        "parameters": {name: list(weight.shape) for name, weight in model.named_parameters()
                       if ".layers." not in name or ".layers.1." in name},
        "positions": read.max_position_embeddings,
        "bos": read.bos_token_id,
        "eos": eos if isinstance(eos, list) else [] if eos is None else [eos],
    }


def outcome(family, fields):
    config = config_of(family, fields)
    try:
        return {"config": config} | judge(config)
    except Exception as error:  # noqa: BLE001 - whatever stops transformers counts as a refusal
        return {"config": config, "refused": f"{type(error).__name__}"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the committed vectors")
    arguments = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    torch.set_num_threads(1)
    found = {name: outcome(*case) for name, case in CASES.items()}
    for name, case in found.items():
        if "refused" in case:
            print(f"{name}: {case['refused']}")
    text = "{\n" + ",\n".join(
        f"{json.dumps(name)}: {json.dumps(case)}" for name, case in found.items()) + "\n}\n"
    if arguments.check:
        assert text == GOLDEN.read_text(), "the committed vectors are not reproduced"
    else:
        GOLDEN.write_text(text)
    print(f"{len(found)} cases, torch {torch.__version__}, "
          f"transformers {transformers.__version__}")


if __name__ == "__main__":
    main()
