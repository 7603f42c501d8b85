"""What OPA itself makes of a policy bundle: its tests, and its decision on each of many inputs.

    opa_policies.py BUNDLE INPUTS.json [--opa PROGRAM | --library FOLDER]

INPUTS.json is an object of inputs by name. Prints one JSON object:

  engine     which OPA, with its version where it says one
  strict     what `opa check --strict` complains of; null where the library was asked, which has no check
  tests      by full name, whether the test passed; undefined is a failure, as for `opa test`
  decisions  by name of the input: `allow` as a list (empty: undefined) and `reasons`, sorted

`--opa` runs the program. `--library` loads OPA's own Go engine from the unpacked Python package
opa-golib-python-bindings. Both evaluate the files as they stand. Standard library only.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

# Comprehensions, so that what is undefined is an empty list and not the end of the query.
QUERY = """said := {name: {"allow": allow, "reasons": reasons} |
    given := data.given_inputs[name]
    allow := [value | value := data.seal.allow with input as given]
    reasons := [value | value := data.seal.reasons[_] with input as given]
}"""


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("bundle", type=Path)
    options.add_argument("inputs", type=Path)
    options.add_argument("--opa", help="a stock opa program")
    options.add_argument("--library", type=Path, help="folder that holds opa_bindings")
    given = options.parse_args()
    inputs = json.loads(given.inputs.read_text(encoding="utf-8"))
    if given.library:
        report = by_library(given.bundle, inputs, given.library)
    else:
        report = by_program(given.bundle, inputs, given.opa or "opa")
    print(json.dumps(report, sort_keys=True))


def by_program(bundle, inputs, opa):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "inputs.json"
        file.write_text(json.dumps({"given_inputs": inputs}), encoding="utf-8")
        version = run([opa, "version"]).stdout.splitlines()[0]
        checked = run([opa, "check", "--strict", str(bundle)])
        tested = json.loads(run([opa, "test", "--format", "json", str(bundle)]).stdout)
        loaded = ["--data", str(bundle), "--data", str(file)]
        said = run([opa, "eval", "--format", "json", *loaded, QUERY])
        if said.returncode != 0:
            raise SystemExit(f"opa eval: {said.stdout}{said.stderr}")
        bindings = json.loads(said.stdout)["result"][0]["bindings"]
    passed = lambda test: not (test.get("fail") or test.get("error") or test.get("skip"))
    return {
        "engine": f"opa, {version}",
        "strict": checked.stdout + checked.stderr,
        "tests": {f"{test['package']}.{test['name']}": passed(test) for test in tested},
        "decisions": in_order(bindings["said"]),
    }


def run(command):
    return subprocess.run(command, capture_output=True, text=True, check=False)


def by_library(bundle, inputs, library):
    sys.path.insert(0, str(library))
    from opa_bindings import OpaEngine

    tests, said = {}, {}
    with OpaEngine() as engine:
        names = []
        for file in sorted(bundle.glob("*.rego")):
            text = file.read_text(encoding="utf-8")
            engine.add_policy(file.name, text)
            package = re.search(r"^package\s+([\w.]+)", text, re.MULTILINE).group(1)
            names += [f"{package}.{name}" for name in re.findall(r"^(test_\w+)\b", text, re.MULTILINE)]
        data = bundle / "data.json"
        if data.exists():
            engine.add_data(json.loads(data.read_text(encoding="utf-8")))
        for name in sorted(set(names)):
            tests[f"data.{name}"] = asked(engine, name, {}) == [True]
        for name, given in inputs.items():
            reasons = asked(engine, "seal.reasons", given)
            said[name] = {"allow": asked(engine, "seal.allow", given), "reasons": reasons[0] if reasons else []}
    return {"engine": "OPA's Go engine as a library", "strict": None, "tests": tests, "decisions": in_order(said)}


def asked(engine, document, given):
    """The document's value as a list; empty where it is undefined or, as a built-in function's error is
    one for the library, cannot be evaluated."""
    from opa_bindings import OpaError

    try:
        return [engine.eval_document(document, given)]
    except OpaError:
        return []


def in_order(decisions):
    """Reasons are a set; JSON has lists."""
    return {name: {**one, "reasons": sorted(one["reasons"], key=str)} for name, one in decisions.items()}


if __name__ == "__main__":
    main()
