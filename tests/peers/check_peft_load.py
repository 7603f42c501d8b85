#!/usr/bin/env python3
"""Loads a model folder, and an adapter folder if one is named, exactly as a user would.

    python tests/peers/check_peft_load.py MODEL [--adapter ADAPTER] --ids '[[1, 5, 9], [1, 7]]'

Prints one JSON object: `logits[n][position][token]` in f32 for every sequence of `--ids`, and the
versions that computed them. A weight that PEFT or transformers misses or ignores is an error
here: such a folder would load for a user and answer nonsense. `--save` writes the adapter again, as
PEFT does.
"""

import argparse
import json
import os
import warnings
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import peft
import safetensors
import torch
import transformers
from transformers import AutoModelForCausalLM


def load_base(folder):
    model, report = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    problems = {kind: sorted(map(str, names)) for kind, names in report.items() if names}
    assert not problems, f"transformers does not take {folder} as it is: {problems}"
    return model.eval()


def load(folder, adapter):
    base = load_base(folder)
    if adapter is None:
        return base
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*missing.*keys.*")
        model = peft.PeftModel.from_pretrained(base, adapter)
    refuse_ignored_factors(model, adapter)
    return model.eval()


def refuse_ignored_factors(model, adapter):
    """PEFT drops factors that it has no place for without a word."""
    with safetensors.safe_open(f"{adapter}/adapter_model.safetensors", "pt") as file:
        ignored = set(file.keys()) - set(peft.get_peft_model_state_dict(model))
    assert not ignored, f"PEFT ignores factors of {adapter}: {sorted(ignored)}"


def save_adapter(model, folder):
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    # PEFT writes the targets in the order of a set, which differs from run to run.
    config = json.loads((folder / "adapter_config.json").read_text())
    config["target_modules"] = sorted(config["target_modules"])
    config["base_model_name_or_path"] = "base"
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")


def logits_of(model, ids):
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].tolist()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--adapter")
    parser.add_argument("--save", type=Path)
    parser.add_argument("--ids", type=json.loads, required=True)
    arguments = parser.parse_args()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    model = load(arguments.model, arguments.adapter)
    if arguments.save:
        save_adapter(model, arguments.save)
    print(json.dumps({
        "logits": [logits_of(model, ids) for ids in arguments.ids],
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__,
                     "peft": peft.__version__},
    }))


if __name__ == "__main__":
    main()
