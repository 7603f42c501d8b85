#!/usr/bin/env python3
"""Golden vectors for the sampler of shared/model, computed by transformers' logits processors.

    venv/bin/python tests/peers/make_sampling_golden.py            # writes the file below
    venv/bin/python tests/peers/make_sampling_golden.py --check    # recomputes, writes nothing

`shared/model/tests/golden/sampling.safetensors` holds

    logits          [rows, vocabulary], f32, seeded
    prompt.{row}    token ids before the text, i64
    text.{row}      token ids of the text so far, i64
    settings.{n}    the settings of case n as JSON, u8
    expected.{n}    [rows, vocabulary], f32: probability of each token under these settings

Each case runs the processors in the order in which `GenerationMixin` chains them: bias, repetition
penalty, temperature, top-k, top-p, min-p, typical-p. Presence and frequency penalties are not in
transformers; they are OpenAI's formula on the tokens of the text, after the repetition penalty.
"""

import argparse
import json
from pathlib import Path

import safetensors.torch
import torch
import transformers
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    SequenceBiasLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

OUTPUT = Path(__file__).resolve().parents[2] / "shared/model/tests/golden/sampling.safetensors"
ROWS, VOCABULARY = 3, 401

CASES = [
    {},
    {"temperature": 0.7},
    {"temperature": 1.9, "top_k": 40},
    {"top_k": 1},
    {"top_k": 1000},
    {"top_p": 0.9},
    {"temperature": 0.5, "top_p": 0.35},
    {"top_p": 0.01},
    {"min_p": 0.1},
    {"temperature": 1.5, "min_p": 0.02, "top_p": 0.97},
    {"top_k": 20, "top_p": 0.8, "min_p": 0.05},
    {"typical_p": 0.6},
    {"temperature": 1.3, "top_k": 60, "typical_p": 0.9},
    {"repetition_penalty": 1.3},
    {"repetition_penalty": 0.8, "temperature": 0.9, "top_p": 0.95},
    {"presence_penalty": 0.7, "frequency_penalty": 0.4},
    {"repetition_penalty": 1.1, "presence_penalty": -0.5, "frequency_penalty": 1.2, "top_k": 50},
    {"logit_bias": {"3": 4.0, "17": -100.0, "400": 2.5}},
    {"logit_bias": {"5": 3.0, "9": -2.0}, "repetition_penalty": 1.4, "temperature": 0.8,
     "top_k": 100, "top_p": 0.9, "min_p": 0.01, "typical_p": 0.8},
]


class TextPenalties:
    """logit -= presence * [in text] + frequency * (times in text)."""

    def __init__(self, text, presence, frequency):
        self.text, self.presence, self.frequency = text, presence, frequency

    def __call__(self, _, scores):
        counts = torch.bincount(self.text, minlength=scores.shape[-1]).to(scores.dtype)
        return scores - self.frequency * counts - self.presence * (counts > 0).to(scores.dtype)


def processors(settings, text):
    chain = LogitsProcessorList()
    if bias := settings.get("logit_bias"):
        chain.append(SequenceBiasLogitsProcessor({(int(t),): b for t, b in bias.items()}))
    if "repetition_penalty" in settings:
        chain.append(RepetitionPenaltyLogitsProcessor(settings["repetition_penalty"]))
    if "presence_penalty" in settings:
        penalties = settings["presence_penalty"], settings["frequency_penalty"]
        chain.append(TextPenalties(text, *penalties))
    if "temperature" in settings:
        chain.append(TemperatureLogitsWarper(settings["temperature"]))
    if "top_k" in settings:
        chain.append(TopKLogitsWarper(settings["top_k"]))
    if "top_p" in settings:
        chain.append(TopPLogitsWarper(settings["top_p"]))
    if "min_p" in settings:
        chain.append(MinPLogitsWarper(settings["min_p"]))
    if "typical_p" in settings:
        chain.append(TypicalLogitsWarper(settings["typical_p"]))
    return chain


def golden():
    torch.manual_seed(20)
    tensors = {"logits": 3 * torch.randn(ROWS, VOCABULARY)}
    for row in range(ROWS):
        tensors[f"prompt.{row}"] = torch.randint(0, 40, (12,))
        tensors[f"text.{row}"] = torch.randint(20, 60, (30 * row,))
    for n, settings in enumerate(CASES):
        expected = []
        for row in range(ROWS):
            prompt, text = tensors[f"prompt.{row}"], tensors[f"text.{row}"]
            ids = torch.cat([prompt, text])[None]
            scores = processors(settings, text)(ids, tensors["logits"][row : row + 1].clone())
            expected.append(scores.softmax(-1)[0])
        tensors[f"expected.{n}"] = torch.stack(expected)
        tensors[f"settings.{n}"] = torch.tensor(list(json.dumps(settings).encode()), dtype=torch.uint8)
    return tensors


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    fresh = golden()
    if check:
        stored = safetensors.torch.load_file(OUTPUT)
        assert stored.keys() == fresh.keys(), "other tensors than stored"
        worst = max((stored[k].double() - fresh[k].double()).abs().max().item()
                    for k in fresh if fresh[k].numel())
        print(f"largest difference {worst:.2e}")
        assert worst < 1e-6
    else:
        safetensors.torch.save_file(fresh, OUTPUT)
        print(f"wrote {OUTPUT.stat().st_size} bytes")
    print(f"transformers {transformers.__version__}, torch {torch.__version__}")


if __name__ == "__main__":
    main()
