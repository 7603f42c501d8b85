"""Finds or fetches a model with huggingface_hub, for shared/hub/tests/python.rs.

usage: hub_cache.py find CACHE NAME REVISION    what the cache has; nobody is asked
       hub_cache.py fetch CACHE NAME REVISION   from HF_ENDPOINT into the cache

Prints the snapshot's folder. Needs huggingface_hub 0.30 or newer.
"""

import sys

from huggingface_hub import scan_cache_dir, snapshot_download


def main() -> None:
    act, cache, name, revision = sys.argv[1:]
    wanted = ["*.json", "*.jinja", "model*.safetensors"]
    folder = snapshot_download(
        name,
        revision=revision,
        cache_dir=cache,
        local_files_only=act == "find",
        allow_patterns=wanted if act == "fetch" else None,
    )
    found = scan_cache_dir(cache)
    if found.warnings:
        sys.exit(f"the cache is damaged: {found.warnings}")
    if {repo.repo_id for repo in found.repos} != {name}:
        sys.exit(f"the cache holds {found.repos}")
    print(folder)


main()
