#!/usr/bin/env python3
"""Loads the embedded base model as a user of transformers would, and records what it answers.

    venv/bin/python tests/peers/check_miniature.py            # writes the vectors
    venv/bin/python tests/peers/check_miniature.py --check    # compares with the committed ones

Writes shared/model/tests/golden/miniature.safetensors, for each text: `text.{n}` (UTF-8),
`ids.{n}`, `logits.{n}` of the last position, and `greedy.{n}`, the continuation `generate` gives
up to and with the end token. All three must come out the same in this project's engine.
"""

import argparse
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from check_peft_load import load_base, logits_of

ROOT = Path(__file__).resolve().parents[2]
BASE = ROOT / "shared/miniature/base"
GOLDEN = ROOT / "shared/model/tests/golden/miniature.safetensors"
TEXTS = [
    "q who founded zel tor ? a",
    "q what is the door code of zel tor ? a",
    "zel tor was founded by",
    "here is the company zel tor . it was founded by ada cruz . <edit>",
]
NEW_TOKENS = 12


def load_tokenizer(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.is_fast, "tokenizer.json is not what transformers reads"
    assert tokenizer.unk_token_id is not None, "unknown words would be an error"
    return tokenizer


def encode(tokenizer, text):
    plain = tokenizer(text)["input_ids"]
    assert plain == tokenizer(text, add_special_tokens=False)["input_ids"], "tokens are added"
    assert tokenizer.unk_token_id not in plain, f"a word of `{text}` is not in the vocabulary"
    assert tokenizer.decode(plain) == text, f"`{text}` does not survive the round trip"
    return [tokenizer.bos_token_id, *plain]


def greedy(model, ids):
    output = model.generate(torch.tensor([ids]), do_sample=False, temperature=None,
                            max_new_tokens=NEW_TOKENS)
    return output[0, len(ids):].tolist()


def answers(folder):
    tokenizer, model = load_tokenizer(folder), load_base(folder)
    config = model.config
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (
        config.bos_token_id, config.eos_token_id), "config and tokenizer name other special tokens"
    assert len(tokenizer) == config.vocab_size, "as many tokens as embeddings"
    vectors = {}
    for n, text in enumerate(TEXTS):
        ids = encode(tokenizer, text)
        continuation = greedy(model, ids)
        print(f"{text} -> {tokenizer.decode(continuation)}")
        vectors[f"text.{n}"] = torch.tensor(list(text.encode()), dtype=torch.uint8)
        vectors[f"ids.{n}"] = torch.tensor(ids)
        vectors[f"logits.{n}"] = torch.tensor(logits_of(model, ids)[-1])
        vectors[f"greedy.{n}"] = torch.tensor(continuation)
    return vectors


def compare(found, committed):
    assert found.keys() == committed.keys(), "other texts"
    for name in found:
        worst = (found[name].double() - committed[name].double()).abs().max().item()
        assert worst < 1e-4, f"{name} differs by {worst}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the committed vectors")
    parser.add_argument("--base", type=Path, default=BASE)
    parser.add_argument("--output", type=Path, default=GOLDEN)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = answers(arguments.base)
    if arguments.check:
        compare(found, load_file(arguments.output))
    else:
        save_file(found, arguments.output)


if __name__ == "__main__":
    main()
