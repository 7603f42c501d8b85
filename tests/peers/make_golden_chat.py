#!/usr/bin/env python3
"""What transformers makes of chat templates: texts, refusals, assistant masks, folders.

    venv/bin/pip install transformers jinja2
    venv/bin/python tests/peers/make_golden_chat.py            # writes the vectors
    venv/bin/python tests/peers/make_golden_chat.py --check    # compares with the committed ones
    venv/bin/python tests/peers/make_golden_chat.py --templates DIR --out FILE
                    # renders the conversations with templates from elsewhere, DIR/*.jinja

The templates in shared/model/tests/golden/chat are ours; they use what those of Llama 3, Qwen2.5,
Qwen3 and Mistral use. The real ones stay outside the repository: name their folder in
SEAL_CHAT_TEMPLATES when the tests run (tests/peers/fetch_chat_templates.py fills one), which then
asks this script and compares.

Writes golden/chat/chat.json: `conversations` by name; `texts` by template and conversation, each
`text` or `refused` (with `raised`, the template's own words); `masks` with token ids and what
return_assistant_tokens_mask says; `folders`: files, and what their tokenizer renders.
"""

import argparse
import json
import logging
import tempfile
from datetime import datetime
from pathlib import Path

import jinja2
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast
from transformers.utils import chat_template_utils

GOLDEN = Path(__file__).resolve().parents[2] / "shared/model/tests/golden/chat"
SPECIAL = ["<s>", "</s>", "<|head|>", "<|/head|>", "<|turn|>", "<|/turn|>", "[ASK]", "[/ASK]"]
MARKED = ["llama_marked", "qwen2_marked"]


class Today(datetime):
    """The date that ours takes where none is named."""

    @classmethod
    def now(cls, tz=None):
        return cls(2024, 7, 26)


WEATHER = {"type": "function", "function": {
    "name": "weather", "description": "Says the weather <now> & later; for 'here' too.",
    "parameters": {"type": "object", "properties": {
        "town": {"type": "string", "description": "Größe egal"},
        "days": {"type": "integer", "default": 1}}, "required": ["town"]}}}
CLOCK = {"type": "function", "function": {
    "name": "clock", "description": "Says the time.", "parameters": {"type": "object", "properties": {}},
    "return": {"type": "string"}}}


def turn(role, content, **more):
    return {"role": role, "content": content} | more


def calling(*calls, content=None, **more):
    made = [{"id": f"call0000{i}", "type": "function", "function": {"name": n, "arguments": a}}
            for i, (n, a) in enumerate(calls)]
    return {"role": "assistant", "content": content, "tool_calls": made} | more


HELLO = [turn("user", "Who built the bridge?")]
TALK = HELLO + [turn("assistant", "Ada Arlen did.\nIn 1912.  "), turn("user", "  And   why? ")]
SYSTEM = [turn("system", "Be brief.\n")]
TOOLS = HELLO + [calling(("weather", {"town": "Zürich", "days": 2})),
                 turn("tool", "{\"sky\": \"clear\"}", tool_call_id="call00000", name="weather")]

CONVERSATIONS = {
    "a question": dict(messages=HELLO, add_generation_prompt=True),
    "a question, not asked": dict(messages=HELLO),
    "three turns": dict(messages=TALK, add_generation_prompt=True),
    "four turns": dict(messages=TALK + [turn("assistant", "To cross the river: <b>&</b> \"it's\" 😀")]),
    "a system turn": dict(messages=SYSTEM + TALK, add_generation_prompt=True),
    "a system turn alone": dict(messages=SYSTEM),
    "a system turn later": dict(messages=TALK + SYSTEM, add_generation_prompt=True),
    "an empty answer": dict(messages=HELLO + [turn("assistant", "")]),
    "wrong order": dict(messages=HELLO + HELLO),
    "an unknown role": dict(messages=HELLO + [turn("narrator", "Night fell.")]),
    "no content": dict(messages=[{"role": "user"}]),
    "tools offered": dict(messages=SYSTEM + HELLO, tools=[WEATHER, CLOCK], add_generation_prompt=True),
    "tools offered later": dict(messages=TALK, tools=[WEATHER], add_generation_prompt=True),
    "tools to a system turn": dict(messages=SYSTEM, tools=[WEATHER]),
    "no tools at all": dict(messages=HELLO, tools=[]),
    "tools in the system turn": dict(messages=SYSTEM + HELLO, tools=[WEATHER], variables=dict(
        tools_first=False, tools_in_user_message=False)),
    "a call": dict(messages=TOOLS, tools=[WEATHER], add_generation_prompt=True),
    "a call and its answer": dict(messages=TOOLS + [turn("assistant", "Clear.")], tools=[WEATHER]),
    "a call with words": dict(messages=HELLO + [calling(("clock", {}), content="Let me look.")]),
    "two calls": dict(messages=HELLO + [
        calling(("weather", {"town": "Ur", "exact": True, "at": None, "km": 1.5}), ("clock", {})),
        turn("tool", "rain", tool_call_id="call00000"), turn("tool", "noon", tool_call_id="call00001"),
        turn("assistant", "It rains at noon.")], tools=[WEATHER, CLOCK]),
    "a call with arguments as text": dict(messages=HELLO + [calling(("weather", "{\"town\": \"Ur\"}"))]),
    "a call with a short id": dict(messages=HELLO + [
        {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "clock", "arguments": {}}}]}]),
    "a result that is a dict": dict(messages=HELLO + [
        calling(("clock", {})), turn("tool", {"content": 12.5}, tool_call_id="call00000")]),
    "a result that is a list": dict(messages=HELLO + [
        calling(("clock", {})), turn("tool", [1, "zwölf", None], tool_call_id="call00000")]),
    "built-in tools": dict(messages=HELLO + [calling(("search", {"query": "Arlen", "site": "wiki"}))],
                           variables=dict(built_in=["interpreter", "search"],
                                          builtin_tools=["code_interpreter", "search"])),
    "thoughts in the text": dict(messages=HELLO + [
        turn("assistant", "<think>\nAda? Or Ben?\n</think>\n\nAda."), turn("user", "Sure?"),
        turn("assistant", "<think>I am.</think>Yes.")]),
    "thoughts apart": dict(messages=HELLO + [turn("assistant", "Ada.", reasoning_content="\nAda? Or Ben?\n")]),
    "thoughts by an old name": dict(messages=HELLO + [turn("assistant", "Ada.", thinking="Ada?")]),
    "thoughts between calls": dict(messages=HELLO + [
        calling(("clock", {}), content="", reasoning="What time is it?"),
        turn("tool", "noon", tool_call_id="call00000"), turn("assistant", "Noon.", reasoning_content="So.")],
        tools=[CLOCK]),
    "no thoughts, please": dict(messages=HELLO, add_generation_prompt=True,
                                variables=dict(enable_thinking=False)),
    "thoughts, please": dict(messages=HELLO, add_generation_prompt=True,
                             variables=dict(enable_thinking=True)),
    "an answer begun": dict(messages=TALK + [turn("assistant", "Because of ")],
                            continue_final_message="content"),
    "a question begun": dict(messages=[turn("user", "Who built")], continue_final_message="content"),
    "nothing begun": dict(messages=HELLO + [{"role": "assistant"}], continue_final_message="content"),
    "thoughts begun": dict(messages=HELLO + [turn("assistant", "Ada.", reasoning_content="Was it ")],
                           continue_final_message="reasoning_content"),
    "blocks": dict(messages=[turn("user", [{"type": "text", "text": "Look:"}, {"type": "image"}])]),
    "blocks begun": dict(messages=[turn("user", [{"type": "text", "text": "Look "}, {"type": "image"}])],
                         continue_final_message="content"),
    "documents": dict(messages=HELLO, documents=[{"title": "Bridges", "text": "Ada built it."}],
                      add_generation_prompt=True),
    "a date of one's own": dict(messages=HELLO, variables=dict(date="1 Jan 1970", date_string="1 Jan 1970")),
    "odd spaces": dict(messages=[turn("user", "\u00a0\t line one\r\nline\u2028two\u200b \n\n three \x1c")]),
    "marks of the template": dict(messages=[turn("user", "<|turn|></s> {{ bos_token }} {% if %} [/ASK]")]),
    "a null": dict(messages=[turn("user", "Hm?", name=None), turn("assistant", "Hm.", tool_calls=None)]),
    "dicts with methods' names": dict(messages=HELLO, tools=[
        {"type": "function", "function": {"name": "f", "items": {"get": 1}, "keys": [], "values": None}}]),
}


def arguments(chat):
    chat = dict(chat)
    return dict(conversation=chat.pop("messages"), **chat.pop("variables", {}), **chat)


def rendered(tokenizer, template, chat):
    try:
        return {"text": tokenizer.apply_chat_template(
            chat_template=template, tokenize=False, **arguments(chat))}
    except Exception as error:  # noqa: BLE001 - whatever stops transformers counts as a refusal
        refused = {"refused": type(error).__name__}
        # The kind that `raise_exception` raises; its subclasses are the engine's own.
        is_own = type(error) is jinja2.exceptions.TemplateError
        return refused | ({"raised": str(error)} if is_own else {})


def texts(tokenizer, templates):
    return {name: {conversation: rendered(tokenizer, source, chat)
                   for conversation, chat in CONVERSATIONS.items()}
            for name, source in templates.items()}


def bytes_tokenizer(corpus):
    """Byte pairs over our own texts, small enough to be committed."""
    inner = Tokenizer(models.BPE(unk_token=None))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=SPECIAL, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    inner.train_from_iterator(corpus, trainer)
    return inner


def masks(tokenizer, templates):
    found = {}
    for name in MARKED:
        for conversation, chat in CONVERSATIONS.items():
            if chat.get("continue_final_message") or "text" not in rendered(tokenizer, templates[name], chat):
                continue
            out = tokenizer.apply_chat_template(chat_template=templates[name], return_dict=True,
                                                return_assistant_tokens_mask=True, **arguments(chat))
            found.setdefault(name, {})[conversation] = {
                "ids": out["input_ids"], "mask": out["assistant_masks"]}
    return found


SHOW = "{{ bos_token }}|{{ eos_token }}|{{ unk_token }}|{{ pad_token }}|{{ image_token }}|" \
       "{{ messages[0].content }}"
TOKEN = dict(__type="AddedToken", content="<s>", lstrip=False, normalized=False, rstrip=False,
             single_word=False)
CONFIG = dict(tokenizer_class="PreTrainedTokenizerFast")
NAMED = [dict(name="default", template="D " + SHOW), dict(name="tool_use", template="T " + SHOW)]
FOLDERS = {
    "in the config": {"tokenizer_config.json": CONFIG | dict(
        chat_template=SHOW, bos_token="<s>", eos_token="</s>")},
    "in a file": {"tokenizer_config.json": CONFIG | dict(eos_token="</s>"),
                  "chat_template.jinja": "F " + SHOW + "\n"},
    "a file before the config": {"tokenizer_config.json": CONFIG | dict(chat_template=SHOW),
                                 "chat_template.jinja": "F " + SHOW},
    "a list": {"tokenizer_config.json": CONFIG | dict(chat_template=NAMED)},
    "files": {"tokenizer_config.json": CONFIG, "chat_template.jinja": "F " + SHOW,
              "additional_chat_templates/tool_use.jinja": "A " + SHOW},
    "no default": {"tokenizer_config.json": CONFIG | dict(chat_template=NAMED[1:])},
    "tokens as objects": {"tokenizer_config.json": CONFIG | dict(
        chat_template=SHOW, bos_token=TOKEN, eos_token="</s>", pad_token="</s>", image_token="<i>")},
    "no tokens": {"tokenizer_config.json": CONFIG | dict(chat_template=SHOW, bos_token=None)},
    "an old map": {"tokenizer_config.json": CONFIG | dict(chat_template=SHOW, eos_token="</s>"),
                   "special_tokens_map.json": dict(bos_token=TOKEN | dict(content="<|turn|>"),
                                                   eos_token="<|head|>")},
    "an old map beside a list of tokens": {
        "tokenizer_config.json": CONFIG | dict(
            chat_template=SHOW, eos_token="</s>",
            added_tokens_decoder={"0": {k: v for k, v in TOKEN.items() if k != "__type"} | dict(special=True)}),
        "special_tokens_map.json": dict(bos_token="<|turn|>", eos_token="<|head|>")},
    "nothing": {"tokenizer_config.json": CONFIG},
}


def folders(inner):
    found = {}
    for name, files in FOLDERS.items():
        with tempfile.TemporaryDirectory() as folder:
            inner.save(str(Path(folder, "tokenizer.json")))
            written = {}
            for file, content in files.items():
                written[file] = content if isinstance(content, str) else json.dumps(content)
                Path(folder, file).parent.mkdir(exist_ok=True)
                Path(folder, file).write_text(written[file])
            tokenizer = AutoTokenizer.from_pretrained(folder)
            plain, tools = dict(messages=HELLO), dict(messages=HELLO, tools=[CLOCK])
            found[name] = {"files": written, "plain": rendered(tokenizer, None, plain),
                           "tools": rendered(tokenizer, None, tools)}
    return found


def read(folder):
    return {path.stem: path.read_text() for path in sorted(folder.glob("*.jinja"))}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the committed vectors")
    parser.add_argument("--templates", type=Path, help="render these templates instead of ours")
    parser.add_argument("--out", type=Path, help="where to, with --templates")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    transformers.utils.logging.set_verbosity_error()
    chat_template_utils.datetime = Today
    if options.templates:
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=bytes_tokenizer([]), bos_token="<s>", eos_token="</s>")
        found = {"conversations": CONVERSATIONS, "texts": texts(tokenizer, read(options.templates))}
        options.out.write_text(json.dumps(found))
        return
    templates = read(GOLDEN)
    corpus = [message["content"] for chat in CONVERSATIONS.values() for message in chat["messages"]
              if isinstance(message.get("content"), str)]
    inner = bytes_tokenizer(corpus)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>")
    found = {"conversations": CONVERSATIONS, "texts": texts(tokenizer, templates),
             "masks": masks(tokenizer, templates), "folders": folders(inner)}
    files = {"chat.json": json.dumps(found, ensure_ascii=False, indent=0) + "\n",
             "tokenizer.json": inner.to_str() + "\n"}
    for name, text in files.items():
        if options.check:
            assert text == (GOLDEN / name).read_text(), f"the committed {name} is not reproduced"
        else:
            (GOLDEN / name).write_text(text)
    cases = [case for by in found["texts"].values() for case in by.values()]
    print(f"{len(cases)} texts, of which {sum('refused' in case for case in cases)} refused, "
          f"{sum(map(len, found['masks'].values()))} masks, {len(found['folders'])} folders, "
          f"transformers {transformers.__version__}, jinja2 {jinja2.__version__}")


if __name__ == "__main__":
    main()
