#!/usr/bin/env python3
"""GGUF files and golden vectors for shared/model/tests/gguf.rs, by llama.cpp and transformers.

    python3 -m venv venv && venv/bin/pip install torch transformers sentencepiece gguf xllamacpp
    venv/bin/pip download --no-deps --no-binary llama-cpp-python llama-cpp-python    # carries llama.cpp's source
    tar xf llama_cpp_python-*.tar.gz
    venv/bin/python tests/peers/make_gguf.py llama_cpp_python-*/vendor/llama.cpp

The models are tiny, with seeded random weights, one for each architecture that is read. llama.cpp's own
converter makes the files from them, transformers computes the logits, and llama.cpp's server continues a
prompt greedily and takes texts apart. Every folder below shared/model/tests/golden/gguf has:

    f32.gguf, f16.gguf, bf16.gguf, q8_0.gguf, q4_0.gguf    one model, as far as it is stored so
    texts.json             [[text, token ids by the model's own tokenizer], ...]
    golden.safetensors     ids.{n}, logits.{kind}.{n}: [tokens, vocabulary], f32, of the weights that the
                           file stands for; greedy.prompt, greedy.tokens: llama.cpp's, of f32.gguf

`cut-*` have only q8_0.gguf and texts.json: further ways to cut texts.
`blocks` has no tokenizer: every kind of block, filled with random bits and taken apart by gguf-py.
Nothing here is ours but the recipe.
"""

import argparse
import json
import shutil
import sys
import tempfile
import urllib.request
from pathlib import Path

if len(sys.argv) > 1:
    # The converter wants the gguf-py that it came with.
    sys.path[:0] = [str(Path(sys.argv[1]) / "gguf-py"), sys.argv[1]]

import gguf
import numpy
import safetensors.torch
import torch
import transformers
from transformers import AutoModelForCausalLM

OUTPUT = Path(__file__).resolve().parents[2] / "shared/model/tests/golden/gguf"
GREEDY_TOKENS, GREEDY_MARGIN = 48, 0.01
TEXTS = [
    "The bridge of Arvel was built in 1742, and again in 1810.",
    "Hello, world! It's 3.14 o'clock; they'll say we've 12345678 reasons.",
    "  two spaces, a\ttab\n\n\nthree lines\r\nand an end  ",
    "naïve café – ﬁne “quotes” … ½ Ⅷ ①",
    "Привет, мир! 你好，世界。 こんにちは 🦙🚀 e\u0301",
    "def f(x):\n    return x ** 2  # comment\n",
    "CamelCase and snake_case, HTTPServer, iPhone's",
    "<|end|>a<|end|> <|start|>user",
    "",
    "a",
    " a",
]
CORPUS = [
    "the bridge of the river was built of stone and the tower of the market was old",
    "it was the teacher who said that they will say we have reasons to be there",
    "def return user assistant system Hello world it's they'll we've and an end 12 34 1742",
] * 20
LLAMA3_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2_WORDS = LLAMA3_WORDS.replace("{1,3}", "")
TEKKEN_WORDS = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Without a model of their own.
CUTS = ["gpt-2", "smollm", "tekken"]
TEMPLATE = (
    "{% for message in messages %}<|start|>{{ message['role'] }}\n{{ message['content'] }}<|end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
COMMON = dict(
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=256,
    rms_norm_eps=1e-5,
    dtype="float32",
)


def llama():
    rope = dict(rope_type="llama3", rope_theta=500000.0, factor=8.0, low_freq_factor=1.0,
                high_freq_factor=4.0, original_max_position_embeddings=8192)
    longer = COMMON | dict(max_position_embeddings=16384)
    return transformers.LlamaConfig(**longer, tie_word_embeddings=False, attention_bias=True,
                                    mlp_bias=True, rope_parameters=rope)


def mistral():
    rope = dict(rope_type="default", rope_theta=10000.0)
    return transformers.MistralConfig(
        **COMMON, sliding_window=None, tie_word_embeddings=False, rope_parameters=rope)


def qwen2():
    rope = dict(rope_type="yarn", rope_theta=1e6, factor=4.0, original_max_position_embeddings=64)
    return transformers.Qwen2Config(**COMMON, tie_word_embeddings=True, rope_parameters=rope)


def qwen3():
    rope = dict(rope_type="default", rope_theta=1e6)
    return transformers.Qwen3Config(
        **COMMON, head_dim=16, tie_word_embeddings=False, rope_parameters=rope)


# Name: configuration, how texts are cut, the files, the seed.
MODELS = {
    "llama": (llama, "llama-bpe", ["f32", "f16", "bf16", "q8_0", "q4_0"], 1),
    "mistral": (mistral, None, ["f32"], 2),
    "qwen2": (qwen2, "qwen2", ["f32"], 3),
    "qwen3": (qwen3, "qwen2", ["f32"], 4),
}


def byte_level(folder, cut):
    """A byte-level BPE tokenizer as the model's own repository would have it."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
    from tokenizers import pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(ignore_merges=cut in ("llama-bpe", "tekken")))
    if cut == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    words = {"qwen2": QWEN2_WORDS, "llama-bpe": LLAMA3_WORDS, "tekken": TEKKEN_WORDS}.get(cut)
    by_words = words is not None and pre_tokenizers.Split(Regex(words), "isolated")
    by_digits = cut == "smollm" and pre_tokenizers.Digits(individual_digits=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        *filter(None, [by_words, by_digits]),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=words is None),
    ])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(
        vocab_size=320, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    # transformers adds the last one to every tokenizer of Qwen's.
    special = ["<|start|>", "<|end|>"] + ["<|endoftext|>"] * (cut == "qwen2")
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in special])
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|start|>", eos_token="<|end|>")
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    encode = lambda text: tokenizer.encode(text, add_special_tokens=False).ids
    return encode, tokenizer.get_vocab_size(), tokenizer.token_to_id("<|end|>")


def sentence_piece(folder):
    import sentencepiece

    text = folder / "corpus.txt"
    text.write_text("\n".join(CORPUS))
    sentencepiece.SentencePieceTrainer.train(
        input=str(text), model_prefix=str(folder / "tokenizer"), vocab_size=340, model_type="bpe",
        byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False,
        split_digits=True, hard_vocab_limit=False, minloglevel=2)
    text.unlink()
    model = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    return model.encode, model.vocab_size(), model.eos_id()


def random_model(config, seed):
    """Weights far from their usual tiny start, so that logits differ by whole nats."""
    model = AutoModelForCausalLM.from_config(config)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in sorted(model.named_parameters()):
            noise = torch.randn(weight.shape, generator=draw)
            weight.copy_(1 + 0.2 * noise if "norm" in name else 0.25 * noise)
    return model.eval()


def convert(folder, out, kind, cut):
    """llama.cpp's converter; it knows ways to cut texts by what well-known tokenizers make of one."""
    import conversion.base
    import convert_hf_to_gguf

    if cut is not None:
        conversion.base.TextModel.get_vocab_base_pre = lambda self, tokenizer: cut
    sys.argv = ["convert", str(folder), "--outfile", str(out), "--outtype", kind]
    convert_hf_to_gguf.main()


def with_q4(path, out):
    """The matrices of a file in blocks of four bits; llama.cpp keeps vectors as they are."""
    reader = gguf.GGUFReader(path)
    writer = gguf.GGUFWriter(out, reader.get_field("general.architecture").contents())
    for field in reader.fields.values():
        if not field.name.startswith("GGUF.") and field.name != "general.architecture":
            sub = field.types[1] if len(field.types) > 1 else None
            writer.add_key_value(field.name, field.contents(), field.types[0], sub)
    for tensor in reader.tensors:
        data = tensor.data
        if tensor.data.ndim == 2 and tensor.name != "rope_freqs.weight":
            q4 = gguf.GGMLQuantizationType.Q4_0
            writer.add_tensor(tensor.name, gguf.quants.quantize(data, q4), raw_dtype=q4)
        else:
            writer.add_tensor(tensor.name, data)
    finish(writer)


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def rounded(model, kind):
    """The model with the weights that a file of this kind stands for."""
    types = dict(f32=None, f16=torch.float16, bf16=torch.bfloat16)
    blocks = dict(q8_0=gguf.GGMLQuantizationType.Q8_0, q4_0=gguf.GGMLQuantizationType.Q4_0)
    other = AutoModelForCausalLM.from_config(model.config)
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        for weight in other.parameters():
            if weight.ndim != 2 or kind == "f32":
                continue
            if kind in types:
                weight.copy_(weight.to(types[kind]).float())
            else:
                data = gguf.quants.quantize(weight.numpy(), blocks[kind])
                weight.copy_(torch.from_numpy(gguf.quants.dequantize(data, blocks[kind])))
    return other.eval()


def logits_of(model, ids):
    with torch.no_grad():
        return model(input_ids=torch.tensor(ids)[None], use_cache=False).logits[0].clone()


class LlamaCpp:
    """llama.cpp's own server."""

    def __init__(self, path):
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path, params.hostnames, params.port = str(path), ["127.0.0.1"], 0
        params.n_ctx, params.n_parallel, params.warmup, params.verbosity = 256, 1, False, 0
        params.cpuparams.n_threads = 1
        # An empty prompt cannot be warmed up, and half floats would round keys and values.
        params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        self.server = xllamacpp.Server(params)

    def ask(self, path, body):
        url = f"{self.server.listening_address}{path}"
        request = urllib.request.Request(
            url, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def greedy(self, prompt):
        body = dict(prompt=prompt, n_predict=GREEDY_TOKENS, temperature=0.0, return_tokens=True,
                    cache_prompt=False, ignore_eos=False, samplers=["temperature"])
        return self.ask("/completion", body)["tokens"]

    def tokens(self, text):
        return self.ask("/tokenize", dict(content=text, add_special=False, parse_special=True))["tokens"]


def clear_greedy(server, model, vocabulary, end, seed):
    """The first prompt whose continuation by llama.cpp has no close choice in transformers' eyes."""
    draw = torch.Generator().manual_seed(seed)
    for _ in range(200):
        prompt = torch.randint(3, vocabulary - 4, (6,), generator=draw).tolist()
        tokens = server.greedy(prompt)
        if len(tokens) != GREEDY_TOKENS or end in tokens:
            continue
        logits = logits_of(model, prompt + tokens)[len(prompt) - 1:-1]
        best = logits.topk(2).values
        if (best[:, 0] - best[:, 1]).min() > GREEDY_MARGIN and len(set(tokens)) > 8:
            assert logits.argmax(1).tolist() == tokens, "llama.cpp and transformers disagree"
            return prompt, tokens
    sys.exit("no prompt with a clear greedy continuation: change the model's seed")


def make(name):
    config_of, cut, kinds, seed = MODELS[name]
    folder = OUTPUT / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch:
        scratch = named(scratch, name)
        encode, vocabulary, end = byte_level(scratch, cut) if cut else sentence_piece(scratch)
        config = config_of()
        config.vocab_size, config.bos_token_id, config.eos_token_id = vocabulary, None, end
        model = random_model(config, seed)
        model.save_pretrained(scratch)
        for kind in kinds:
            if kind == "q4_0":
                with_q4(folder / "f32.gguf", folder / "q4_0.gguf")
            else:
                convert(scratch, folder / f"{kind}.gguf", kind, cut)
    draw = numpy.random.default_rng(seed)
    ids = [draw.integers(3, vocabulary - 4, length).tolist() for length in (1, 7, 40)]
    golden = {}
    for n, sequence in enumerate(ids):
        golden[f"ids.{n}"] = torch.tensor(sequence)
        for kind in kinds:
            golden[f"logits.{kind}.{n}"] = logits_of(rounded(model, kind), sequence)
    server = LlamaCpp(folder / "f32.gguf")
    prompt, tokens = clear_greedy(server, model, vocabulary, end, seed)
    golden |= {"greedy.prompt": torch.tensor(prompt), "greedy.tokens": torch.tensor(tokens)}
    write_texts(name, encode, server)
    safetensors.torch.save_file(
        {key: value.contiguous() for key, value in golden.items()}, folder / "golden.safetensors")
    print(f"{name}: {len(kinds)} files, spread of logits {golden['logits.f32.2'].std():.2f}")


def named(scratch, name):
    """A folder that gives the model its name in the file."""
    folder = Path(scratch) / f"tiny-{name}"
    folder.mkdir()
    return folder


def write_texts(name, encode, server):
    texts = [[text, encode(text)] for text in TEXTS]
    for text, own in texts:
        theirs = server.tokens(text)
        if theirs != own:
            print(f"{name}: llama.cpp reads {text!r} as {theirs}, the model's own tokenizer as {own}")
    text = json.dumps(texts, ensure_ascii=False, indent=0) + "\n"
    (OUTPUT / name / "texts.json").write_text(text)


def make_cut(cut):
    folder = OUTPUT / f"cut-{cut}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch:
        scratch = named(scratch, f"cut {cut}")
        encode, vocabulary, end = byte_level(scratch, cut)
        small = COMMON | dict(num_hidden_layers=1, intermediate_size=32)
        config = transformers.LlamaConfig(
            **small, vocab_size=vocabulary, bos_token_id=None, eos_token_id=end,
            tie_word_embeddings=True, rope_parameters=dict(rope_type="default", rope_theta=10000.0))
        random_model(config, 6).save_pretrained(scratch)
        convert(scratch, folder / "q8_0.gguf", "q8_0", cut)
    write_texts(f"cut-{cut}", encode, LlamaCpp(folder / "q8_0.gguf"))
    print(f"cut-{cut}: texts by a tokenizer of {vocabulary} tokens")


# Name, shape (rows first) and kind of a Qwen2 decoder's matrices: K-blocks hold 256 numbers.
BLOCKS = [
    ("token_embd.weight", (64, 256), "Q5_0"),
    ("output.weight", (64, 256), "Q4_0"),
    ("blk.0.attn_q.weight", (64, 256), "Q4_K"),
    ("blk.0.attn_k.weight", (32, 256), "Q5_K"),
    ("blk.0.attn_v.weight", (32, 256), "Q4_1"),
    ("blk.0.attn_output.weight", (256, 64), "Q5_1"),
    ("blk.0.ffn_gate.weight", (256, 256), "Q2_K"),
    ("blk.0.ffn_up.weight", (256, 256), "Q3_K"),
    ("blk.0.ffn_down.weight", (256, 256), "Q6_K"),
]
# Where the half-precision scales lie in a block, and how large they are to be.
SCALES = dict(Q4_0=[0], Q4_1=[0, 2], Q5_0=[0], Q5_1=[0, 2], Q2_K=[80, 82], Q3_K=[108], Q4_K=[0, 2],
              Q5_K=[0, 2], Q6_K=[208])
SIZES = dict(Q4_0=.03, Q4_1=.03, Q5_0=.02, Q5_1=.01, Q2_K=.01, Q3_K=.002, Q4_K=.0005, Q5_K=.0003,
             Q6_K=.0002)


def make_blocks():
    folder, seed = OUTPUT / "blocks", 5
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    dice = numpy.random.default_rng(seed)
    writer = gguf.GGUFWriter(folder / "mixed.gguf", "qwen2")
    writer.add_context_length(256)
    writer.add_embedding_length(256)
    writer.add_block_count(1)
    writer.add_feed_forward_length(256)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_key_length(32)
    writer.add_value_length(32)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(10000.0)
    writer.add_quantization_version(2)
    weights = {}
    for name, (rows, columns), kind in BLOCKS:
        type_ = gguf.GGMLQuantizationType[kind]
        numbers, length = gguf.GGML_QUANT_SIZES[type_]
        blocks = dice.integers(0, 256, (rows * columns // numbers, length), dtype=numpy.uint8)
        for at in SCALES[kind]:
            scale = dice.normal(0, SIZES[kind], len(blocks)).astype(numpy.float16)
            blocks[:, at:at + 2] = scale.view(numpy.uint8).reshape(-1, 2)
        data = blocks.reshape(rows, columns // numbers * length)
        writer.add_tensor(name, data, raw_dtype=type_)
        weights[name] = gguf.quants.dequantize(data, type_)
    for name, size in [("output_norm.weight", 256), ("blk.0.attn_norm.weight", 256),
                       ("blk.0.ffn_norm.weight", 256), ("blk.0.attn_q.bias", 64),
                       ("blk.0.attn_k.bias", 32), ("blk.0.attn_v.bias", 32)]:
        weights[name] = dice.normal(1 if "norm" in name else 0, .2, size).astype(numpy.float32)
        writer.add_tensor(name, weights[name])
    finish(writer)
    config = transformers.Qwen2Config(
        vocab_size=64, hidden_size=256, intermediate_size=256, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1, head_dim=32, max_position_embeddings=256,
        rms_norm_eps=1e-6, tie_word_embeddings=False, dtype="float32",
        rope_parameters=dict(rope_type="default", rope_theta=10000.0))
    model = AutoModelForCausalLM.from_config(config).eval()
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN2, 1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.copy_(torch.from_numpy(weights[names.get_name(name, (".weight", ".bias"))]))
    ids = dice.integers(0, 64, 40).tolist()
    golden = {"ids.0": torch.tensor(ids), "logits.mixed.0": logits_of(model, ids)}
    golden |= {f"weight.{name}": torch.from_numpy(numpy.ascontiguousarray(weights[name]))[:2]
               for name, _, _ in BLOCKS}
    safetensors.torch.save_file(
        {key: value.contiguous() for key, value in golden.items()}, folder / "golden.safetensors")
    print(f"blocks: spread of logits {golden['logits.mixed.0'].std():.2f}")


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("source", type=Path, help="folder of llama.cpp with its converter")
    arguments.parse_args()
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    make_blocks()
    for cut in CUTS:
        make_cut(cut)
    for name in MODELS:
        make(name)
    print(f"torch {torch.__version__}, transformers {transformers.__version__}")


if __name__ == "__main__":
    main()
