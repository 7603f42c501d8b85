#!/usr/bin/env python3
"""Fills a folder with the chat templates that packages on PyPI carry, for a test that stays outside
the repository: their texts are others' work.

    venv/bin/pip install transformers jinja2
    venv/bin/python tests/peers/fetch_chat_templates.py DIR
    SEAL_CHAT_TEMPLATES=DIR SEAL_CHAT_PYTHON=venv/bin/python \\
        cargo test -p seal-model --test golden_chat -- --nocapture families_own

TRL's wheel holds those it trains with, with and without `{% generation %}` blocks; the source of
llama-cpp-python holds those that llama.cpp is tested with, Llama 3, Qwen and Mistral among them.
"""

import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

PACKAGES = ["trl==1.16.0", "llama-cpp-python==0.3.36"]


def download(package, folder):
    form = "--only-binary=:all:" if package.startswith("trl") else "--no-binary=llama-cpp-python"
    subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", form,
                    "--dest", folder, package], check=True)


def members(archive):
    """Name and text of every template in a wheel or source archive."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            for name in wheel.namelist():
                if name.startswith("trl/chat_templates/") and name.endswith(".jinja"):
                    yield "trl-" + Path(name).name, wheel.read(name)
    else:
        with tarfile.open(archive) as source:
            for member in source:
                if "/models/templates/" in member.name and member.name.endswith(".jinja"):
                    yield Path(member.name).name, source.extractfile(member).read()


def main():
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for package in PACKAGES:
            download(package, folder)
        for archive in Path(folder).iterdir():
            for name, text in members(archive):
                (target / name).write_bytes(text)
    print(f"{len(list(target.glob('*.jinja')))} templates in {target}")


if __name__ == "__main__":
    main()
