#!/usr/bin/env python3
"""Writes shared/bench/src/recorded_lengths.json: how long the recorded self-edits of SEAL are.

    SEAL_REFERENCE_DATA=DIR python3 tests/peers/make_bench_lengths.py

Reads the recorded runs of the authors (round 0 of the knowledge domain: 50 passages, 5 self-edits
each) and keeps numbers alone, no text. A token is taken for 4.4 characters, as the authors'
sequences have it on average. One sequence for each line of a self-edit and one for the passage, each
with its title before it; one question for each recorded one, with the instruction before it and the
length of the median answer after it.
"""

import json
import os
import statistics
from pathlib import Path

CHARACTERS = 4.4
INSTRUCTION = 90  # characters of the instruction around a question
MOST_ANSWER = 64  # tokens, the authors' limit
DATA = Path(os.environ.get("SEAL_REFERENCE_DATA", "../shared/data/seal"))
OUT = Path(__file__).resolve().parents[2] / "shared/bench/src/recorded_lengths.json"


def rows(name):
    return [json.loads(line) for line in (DATA / name).read_text().splitlines()]


def tokens(characters):
    return max(2, round(characters / CHARACTERS))


def main():
    passages = [row for row in rows("squad_train_100.jsonl") if row["round"] == 0]
    answers = {}
    for row in rows("judged_train_round0.jsonl"):
        answers.setdefault((row["id"], row["qi"]), []).append(len(row["adapt"]))
    usual = statistics.median(length for all_of in answers.values() for length in all_of)
    contexts = []
    for passage in passages:
        title = len(passage["title"]) + 1
        edits = [row for row in rows("self_edits_train.jsonl")
                 if row["round"] == 0 and row["id"] == passage["id"]]
        lines = [[line for line in edit["text"].split("\n") if line.strip()] for edit in edits]
        sequences = [[tokens(title + len(line)) for line in own] +
                     [tokens(title + len(passage["context"]))] for own in lines]
        questions = []
        for number, question in enumerate(passage["questions"]):
            answer = statistics.median(answers.get((passage["id"], number), [usual]))
            asked = tokens(INSTRUCTION + title + len(question["q"]))
            questions.append([asked, min(MOST_ANSWER, tokens(answer) + 1)])
        contexts.append({"edits": sequences, "questions": questions})
    text = ",\n".join(json.dumps(context, separators=(",", ":")) for context in contexts)
    OUT.write_text(f"[\n{text}\n]\n")
    counts = [len(edit) for context in contexts for edit in context["edits"]]
    lengths = [n for context in contexts for edit in context["edits"] for n in edit]
    asked = [question for context in contexts for question in context["questions"]]
    print(f"{len(contexts)} contexts, {len(counts)} edits, {statistics.mean(counts):.2f} sequences "
          f"of {statistics.mean(lengths):.1f} tokens, {len(asked)} questions of "
          f"{statistics.mean(q[0] for q in asked):.1f} tokens, answers of "
          f"{statistics.mean(q[1] for q in asked):.1f}")


if __name__ == "__main__":
    main()
