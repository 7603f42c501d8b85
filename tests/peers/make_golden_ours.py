#!/usr/bin/env python3
"""What PEFT computes from a base and an adapter that this project wrote.

    cargo test -p seal-model --test golden_peft_loads_ours    # writes target/tmp/golden-ours
    venv/bin/python tests/peers/make_golden_ours.py           # judges it, writes the vectors

Writes shared/model/tests/golden/ours.safetensors: `sha256.{file}` of the four files that PEFT
loaded, `ids.{n}` and `logits.{n}`. A build that writes the same bytes needs no Python to know that
PEFT reads them.
"""

import hashlib
from pathlib import Path

import torch
from safetensors.torch import save_file

from check_peft_load import load, logits_of

ROOT = Path(__file__).resolve().parents[2]
OURS = ROOT / "target/tmp/golden-ours"
FILES = ["base/config.json", "base/model.safetensors",
         "adapter/adapter_config.json", "adapter/adapter_model.safetensors"]
SEQUENCES = [[1, 9, 30, 12, 12, 40, 61], [7], [50, 3, 21, 66]]


def digest(path):
    return torch.tensor(list(hashlib.sha256(path.read_bytes()).digest()), dtype=torch.uint8)


def main():
    torch.set_num_threads(1)
    model = load(OURS / "base", OURS / "adapter")
    plain = load(OURS / "base", None)
    vectors = {f"sha256.{Path(file).name}": digest(OURS / file) for file in FILES}
    for n, ids in enumerate(SEQUENCES):
        logits = torch.tensor(logits_of(model, ids))
        moved = (logits - torch.tensor(logits_of(plain, ids))).abs().max().item()
        assert moved > 0.1, "the adapter hardly changes the logits"
        vectors |= {f"ids.{n}": torch.tensor(ids), f"logits.{n}": logits}
    save_file(vectors, ROOT / "shared/model/tests/golden/ours.safetensors")


if __name__ == "__main__":
    main()
