#!/usr/bin/env python3
"""Serves a model folder by transformers' own OpenAI-compatible server, as an API teacher.

    seal miniature export base
    python3 -m venv venv && venv/bin/pip install "transformers[serving]"
    venv/bin/python tests/peers/serve_transformers.py base      # prints the base URL, serves until a signal

The server is `transformers serve`, unchanged, with its `/v1/completions`. The folder is copied. In the
copy the tokenizer is told how tokens become text, which the miniature's own does without: words with
spaces between them, and `<nl>` as the line break that a text teacher ends its lines with.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

SERVE = "from transformers.cli.transformers import main; main()"
PATIENCE_S = 180


def with_text(source, target):
    """Copies the folder and gives its tokenizer a decoder."""
    shutil.copytree(source, target)
    path = target / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    spaces = {"type": "WordPiece", "prefix": "##", "cleanup": False}
    breaks = {"type": "Replace", "pattern": {"String": " <nl>"}, "content": "\n"}
    tokenizer["decoder"] = {"type": "Sequence", "decoders": [spaces, breaks]}
    path.write_text(json.dumps(tokenizer))


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_until_healthy(server, port):
    begun = time.monotonic()
    while server.poll() is None and time.monotonic() - begun < PATIENCE_S:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).read()
            return
        except OSError:
            time.sleep(0.2)
    sys.exit("the server does not get ready")


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("model", type=Path)
    arguments = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model, port = Path(folder) / "model", free_port()
        with_text(arguments.model, model)
        command = [sys.executable, "-c", SERVE, "serve", str(model)]
        command += ["--device", "cpu", "--host", "127.0.0.1", "--port", str(port)]
        command += ["--default-seed", "0"]
        # A model this small is served faster by one thread.
        settings = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        server = subprocess.Popen(command, env=os.environ | settings, stdout=sys.stderr)
        for ending in (signal.SIGINT, signal.SIGTERM):
            signal.signal(ending, lambda *_: server.terminate())
        try:
            wait_until_healthy(server, port)
            print(f"http://127.0.0.1:{port}/v1 {model}", flush=True)
            server.wait()
        finally:
            server.kill()


if __name__ == "__main__":
    main()
