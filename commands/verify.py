"""`openltx verify`: whether a file is as it was signed."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

HELP = "tell whether a file is as it was signed, and show its content credentials"
VALID, NOT_VALID = 0, 1


def add(command: argparse.ArgumentParser) -> None:
    command.add_argument("files", nargs="+", metavar="FILE")
    command.add_argument("--trust", action="append", default=[], metavar="PEM", help="a root certificate to trust")
    command.add_argument("--json", action="store_true", help="print everything, the whole manifest included")


def run(arguments: argparse.Namespace) -> int:
    from ..media.credentials import verify_file

    trusted = [_root(Path(file)) for file in arguments.trust] + _local_root()
    rows = {file: verify_file(Path(file), trusted=trusted) for file in arguments.files}
    if arguments.json:
        print(json.dumps([{"file": file, **verdict.as_json()} for file, verdict in rows.items()]))
    else:
        print("\n".join(line for file, verdict in rows.items() for line in _lines(file, verdict)))
    return VALID if all(verdict.state == "valid" for verdict in rows.values()) else NOT_VALID


def _root(path: Path) -> bytes:
    if not path.is_file():
        raise ValueError(f"{path}: no such file; name a root certificate (PEM)")
    return path.read_bytes()


def _local_root() -> list[bytes]:
    """This machine's own local certificate is trusted here."""
    from ..media.certificates import CHAIN_FILE, identity_folder, roots

    chain = identity_folder() / CHAIN_FILE
    return [roots(chain.read_bytes())] if chain.is_file() else []


def _lines(file: str, verdict: Any) -> list[str]:
    if verdict.state == "unsigned":
        return [f"{file}: unsigned", *(f"  {problem}" for problem in verdict.problems)]
    trust = "trusted" if verdict.trusted else "nobody here vouches for the signer"
    first = f"{file}: {verdict.state} ({verdict.place}; signed by {verdict.signer or 'nobody known'}; {trust})"
    shown = [f"  {entry['label']}: {json.dumps(entry['data'])}" for entry in verdict.manifest.get("assertions", ())]
    return [first, *(f"  {problem}" for problem in verdict.problems), *shown]
