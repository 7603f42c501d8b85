#!/usr/bin/env python3
"""What PEFT makes of the bases and adapters that this project wrote.

    cargo test -p seal-model --test golden_peft_loads_ours    # writes target/tmp/golden-ours
    venv/bin/python tests/peers/make_golden_ours.py           # judges it, writes the vectors

For every model of make_golden.py, writes shared/model/tests/golden/ours/{model}: the adapter as
PEFT saved it again after loading ours, and golden.safetensors with `sha256.{file}` of the four
files that PEFT loaded, `ids.{n}` and `logits.{n}`. A build that writes the same bytes needs no
Python to know that PEFT reads them.
"""

import argparse
import hashlib
import os
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

from check_peft_load import load, logits_of, save_adapter

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
OUTPUT = ROOT / "shared/model/tests/golden/ours"
FILES = ["base/config.json", "base/model.safetensors",
         "adapter/adapter_config.json", "adapter/adapter_model.safetensors"]
SEQUENCES = [[1, 9, 30, 12, 12, 40, 6], [7], [(5 * i + 3) % 41 for i in range(20)]]


def digest(path):
    return torch.tensor(list(hashlib.sha256(path.read_bytes()).digest()), dtype=torch.uint8)


def judge(ours, output):
    shutil.rmtree(output, ignore_errors=True)
    model, plain = load(ours / "base", ours / "adapter"), load(ours / "base", None)
    vectors = {f"sha256.{Path(file).name}": digest(ours / file) for file in FILES}
    for n, ids in enumerate(SEQUENCES):
        logits = torch.tensor(logits_of(model, ids))
        moved = (logits - torch.tensor(logits_of(plain, ids))).abs().max().item()
        assert moved > 0.1, "the adapter hardly changes the logits"
        vectors |= {f"ids.{n}": torch.tensor(ids), f"logits.{n}": logits}
    save_adapter(model, output)
    save_file(vectors, output / "golden.safetensors")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ours", type=Path, default=TARGET / "tmp/golden-ours")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for ours in sorted(arguments.ours.iterdir()):
        judge(ours, OUTPUT / ours.name)
        print(f"{ours.name}: accepted")


if __name__ == "__main__":
    main()
