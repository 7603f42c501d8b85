#!/usr/bin/env python3
"""Serves a small model by llama.cpp's own OpenAI-compatible server, as an API teacher to try.

    python3 -m venv venv && venv/bin/pip install xllamacpp gguf
    venv/bin/python tests/peers/serve_openai.py          # prints the base URL, serves until Ctrl-C
    SEAL_OPENAI_SERVER=http://127.0.0.1:PORT/v1 cargo test -p seal-teacher --test live_server
    venv/bin/python tests/peers/serve_openai.py --json   # for SEAL_OPENAI_JSON_SERVER of the same test

xllamacpp carries llama.cpp and its server; none of it is ours. The model is: it has random weights
and one fixed dimension by which some words are likely, so its replies are lines of English words
without sense, which is all that a test of the way there and back needs. With `--json` the marks that close
strings and lists are likely too, so that replies under a JSON schema end: that they are JSON, and of that
schema, is the server's grammar and not the model.
"""

import argparse
import signal
import tempfile
from pathlib import Path

import gguf
import numpy
import xllamacpp

WORDS = """ stone river bridge tower winter copper market teacher harbour signal garden winter engine
 island letter mirror forest window silver captain""".split()
WIDTH, LAYERS, HEADS, FEED, CONTEXT = 64, 2, 4, 128, 4096
LIKELY = {"Ċ": 1.5, ".": 1.5, "<|end|>": 0.3}
# What ends a string, a list and an object, and what begins a null: without these a random model under a
# JSON schema would write the first string to the last token. The schema decides where they may stand.
CLOSING = {'"': 3.4, "]": 0.3, "}": 0.6, ",": 0.3, "{": 0.6, "n": 0.4, "u": 0.4, "l": 0.4}
TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
)


def byte_letters():
    """The letters that byte-level BPE (GPT-2) writes for the 256 bytes."""
    printed = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in printed]
    return [chr(byte) for byte in printed] + [chr(256 + number) for number in range(len(rest))]


def vocabulary():
    """Bytes, then every beginning of every word with the merges that lead to it, then the end."""
    tokens, merges = byte_letters(), []
    for word in ("Ġ" + word for word in WORDS):
        for length in range(2, len(word) + 1):
            if word[:length] not in tokens:
                tokens.append(word[:length])
                merges.append(f"{word[: length - 1]} {word[length - 1]}")
    return [*tokens, "<|end|>"], merges


def likelihood(token, likely):
    whole = token.startswith("Ġ") and token[1:] in WORDS
    return 3.0 if whole else likely.get(token, -40.0)


def write_model(path, seed, likely):
    dice = numpy.random.default_rng(seed)
    tokens, merges = vocabulary()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.NORMAL] * (len(tokens) - 1) + [gguf.TokenType.CONTROL])
    writer.add_token_merges(merges)
    writer.add_eos_token_id(len(tokens) - 1)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)

    def add(name, *shape, fixed=None):
        tensor = dice.normal(0, 0.3, shape).astype(numpy.float32)
        if fixed is not None:
            tensor = fixed(tensor)
        writer.add_tensor(name, tensor)

    def first_is_one(embedding):
        embedding[:, 0] = 2.0
        return embedding

    def first_stays(weights):
        weights[0, :] = 0.0
        return weights

    def by_likelihood(weights):
        weights *= 0.2
        weights[:, 0] = [likelihood(token, likely) for token in tokens]
        return weights

    def ones(weights):
        return numpy.ones_like(weights)

    add("token_embd.weight", len(tokens), WIDTH, fixed=first_is_one)
    add("output_norm.weight", WIDTH, fixed=ones)
    add("output.weight", len(tokens), WIDTH, fixed=by_likelihood)
    for layer in range(LAYERS):
        block = f"blk.{layer}."
        add(block + "attn_norm.weight", WIDTH, fixed=ones)
        add(block + "ffn_norm.weight", WIDTH, fixed=ones)
        for name in ("attn_q", "attn_k", "attn_v"):
            add(f"{block}{name}.weight", WIDTH, WIDTH)
        add(block + "attn_output.weight", WIDTH, WIDTH, fixed=first_stays)
        add(block + "ffn_gate.weight", FEED, WIDTH)
        add(block + "ffn_up.weight", FEED, WIDTH)
        add(block + "ffn_down.weight", WIDTH, FEED, fixed=first_stays)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--port", type=int, default=0, help="0: any free one")
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--json", action="store_true", help="make the marks of JSON likely")
    arguments = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "teacher.gguf"
        write_model(str(path), arguments.seed, LIKELY | CLOSING if arguments.json else LIKELY)
        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.hostnames, params.port = ["127.0.0.1"], arguments.port
        params.n_ctx, params.n_parallel = CONTEXT, 4
        params.warmup, params.verbosity = False, 0
        params.cpuparams.n_threads = 1  # more of them would only wait for each other
        server = xllamacpp.Server(params)
        print(f"{server.listening_address}/v1", flush=True)
        signal.sigwait([signal.SIGINT, signal.SIGTERM])


if __name__ == "__main__":
    main()
