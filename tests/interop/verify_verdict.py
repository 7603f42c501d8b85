"""Verifies a verdict with tools that share no code with this project.

    python3 tests/interop/verify_verdict.py VERDICT.json AUDITOR.pub.pem [openssl|securesystemslib]

Without the third argument both verifiers must agree. `openssl` needs the openssl program (3.0 or
later) and nothing beyond Python; `securesystemslib` needs that package and `cryptography`.
Ends with 0 if the verdict is genuine, with 1 if it is not, with 3 if a verifier is missing.
"""

import base64
import json
import os
import subprocess
import sys
import tempfile

GENUINE, FORGED, MISSING = 0, 1, 3


def signed_bytes(envelope):
    """The pre-authentication encoding of DSSE v1, from its definition."""
    kind = envelope["payloadType"].encode()
    body = base64.b64decode(envelope["payload"], validate=True)
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(body), body)


def with_openssl(envelope, key_file):
    with tempfile.TemporaryDirectory() as folder:
        message, signature = os.path.join(folder, "message"), os.path.join(folder, "signature")
        with open(message, "wb") as out:
            out.write(signed_bytes(envelope))
        with open(signature, "wb") as out:
            out.write(base64.b64decode(envelope["signatures"][0]["sig"], validate=True))
        command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", key_file,
                   "-rawin", "-in", message, "-sigfile", signature]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
    return run.returncode == 0


def with_securesystemslib(envelope, key_file):
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import VerificationError
    from securesystemslib.signer import SSlibKey

    with open(key_file, "rb") as pem:
        key = SSlibKey.from_crypto(load_pem_public_key(pem.read()))
    try:
        accepted = Envelope.from_dict(envelope).verify([key], threshold=1)
    except VerificationError:
        return False
    return list(accepted) == [key.keyid]


VERIFIERS = {"openssl": with_openssl, "securesystemslib": with_securesystemslib}


def main(verdict_file, key_file, *names):
    with open(verdict_file, encoding="utf-8") as text:
        envelope = json.load(text)
    if len(envelope["signatures"]) != 1:
        print("a verdict has exactly one signature")
        return FORGED
    worst = GENUINE
    for name in names or VERIFIERS:
        try:
            genuine = VERIFIERS[name](envelope, key_file)
        except (ImportError, FileNotFoundError) as missing:
            print(f"{name}: missing ({missing})")
            return MISSING
        print(f"{name}: {'genuine' if genuine else 'NOT genuine'}")
        worst = worst if genuine else FORGED
    return worst


if __name__ == "__main__":
    if not 3 <= len(sys.argv) <= 4 or not set(sys.argv[3:]) <= VERIFIERS.keys():
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
