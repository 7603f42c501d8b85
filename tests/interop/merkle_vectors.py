"""Writes the golden vectors of the ledger's tree: shared/trust/tests/vectors/rfc6962.json.

Follows the definitions of RFC 6962 section 2.1 word by word with Python's own hashlib, so that the
Rust code is compared with something that shares no line with it. Run from the repository's root:

    python3 tests/interop/merkle_vectors.py
"""

import hashlib
import json

SIZES = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 16, 17, 21]


def sha256(data):
    return hashlib.sha256(data).digest()


def largest_power_of_two_below(n):
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def tree_hash(entries):
    if not entries:
        return sha256(b"")
    if len(entries) == 1:
        return sha256(b"\x00" + entries[0])
    k = largest_power_of_two_below(len(entries))
    return sha256(b"\x01" + tree_hash(entries[:k]) + tree_hash(entries[k:]))


def audit_path(m, entries):
    n = len(entries)
    if n == 1:
        return []
    k = largest_power_of_two_below(n)
    if m < k:
        return audit_path(m, entries[:k]) + [tree_hash(entries[k:])]
    return audit_path(m - k, entries[k:]) + [tree_hash(entries[:k])]


def consistency(m, entries):
    return sub_proof(m, entries, True)


def sub_proof(m, entries, complete):
    n = len(entries)
    if m == n:
        return [] if complete else [tree_hash(entries)]
    k = largest_power_of_two_below(n)
    if m <= k:
        return sub_proof(m, entries[:k], complete) + [tree_hash(entries[k:])]
    return sub_proof(m - k, entries[k:], False) + [tree_hash(entries[:k])]


def entries(n):
    return [f"entry {i}".encode() for i in range(n)]


def hexes(hashes):
    return [h.hex() for h in hashes]


def tree(n):
    all_entries = entries(n)
    return {
        "size": n,
        "root": tree_hash(all_entries).hex(),
        "inclusion": [hexes(audit_path(m, all_entries)) for m in range(n)],
        "consistency": [hexes(consistency(m, all_entries)) for m in range(1, n + 1)],
    }


if __name__ == "__main__":
    # A tree that the Certificate Transparency projects publish; guards against a slip above.
    published = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657",
                 "606162636465666768696a6b6c6d6e6f"]
    known = "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
    assert tree_hash([bytes.fromhex(e) for e in published]).hex() == known
    with open("shared/trust/tests/vectors/rfc6962.json", "w") as out:
        json.dump([tree(n) for n in SIZES], out, indent=1)
        out.write("\n")
