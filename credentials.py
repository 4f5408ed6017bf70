"""`openltx sign` and `openltx verify`: content credentials of files that are there."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

AddCommand = Callable[[str, str], argparse.ArgumentParser]
VALID, NOT_VALID = 0, 1


def add_commands(add: AddCommand) -> None:
    """The two commands; `add` makes one of a name and a line of help."""
    _add_sign(add)
    _add_verify(add)


def _add_sign(add: AddCommand) -> None:
    command = add("sign", "put content credentials (C2PA) into a file")
    command.add_argument("files", nargs="*", metavar="FILE", help="a finished file; mkv, webm, opus, exr: beside it")
    command.add_argument("--make-certificate", metavar="NAME", help="make a local certificate for NAME, once")
    command.add_argument("--certificate", metavar="PEM", help="your chain, your own certificate first")
    command.add_argument("--key", metavar="PEM", help="its private key")
    command.add_argument("--with-prompt", action="store_true", help="state the prompt, too, if the file carries it")
    command.set_defaults(run=_sign)


def _add_verify(add: AddCommand) -> None:
    command = add("verify", "tell whether a file is as it was signed, and show its content credentials")
    command.add_argument("files", nargs="+", metavar="FILE")
    command.add_argument("--trust", action="append", default=[], metavar="PEM", help="a root certificate to trust")
    command.add_argument("--json", action="store_true", help="print everything, the whole manifest included")
    command.set_defaults(run=_verify)


def _sign(arguments: argparse.Namespace) -> int:
    from .media.certificates import load_identity, make_identity

    if arguments.make_certificate is not None:
        print(make_identity(arguments.make_certificate))
    elif not arguments.files:
        raise ValueError("sign: expected a file, found none; see 'openltx sign --help'")
    if bool(arguments.certificate) != bool(arguments.key):
        raise ValueError("sign: expected --certificate and --key together, found one of them")
    if not arguments.files:
        return VALID
    chosen = (Path(arguments.certificate), Path(arguments.key)) if arguments.certificate else ()
    identity = load_identity(*chosen)
    for file in map(Path, arguments.files):
        sign_in_place(file, identity, with_prompt=arguments.with_prompt)
        print(file)
    return VALID


def sign_in_place(path: Path, identity: Any, *, with_prompt: bool) -> None:
    """Sign a file that is there; it stays as it was where that fails. Raises ValueError as `sign_file`."""
    from .media.credentials import sign_file
    from .media.targets import whole_file

    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    with whole_file(path, partial(sign_file, identity=identity, statement=_statement(path, with_prompt))) as temporary:
        shutil.copy(path, temporary)


def _statement(path: Path, with_prompt: bool) -> dict[str, Any]:
    from .media.texts import read_texts
    from .nodes.sealing import statement

    try:
        prompt = json.loads(read_texts(path).get("prompt", "{}"))
    except ValueError:  # no texts, or other people's: there is nothing to tell then
        prompt = {}
    ours = isinstance(prompt, dict) and all(isinstance(node, dict) for node in prompt.values())
    return statement(prompt if ours else {}, with_prompt=with_prompt)


def _verify(arguments: argparse.Namespace) -> int:
    from .media.credentials import verify_file

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
    from .media.certificates import CHAIN_FILE, identity_folder, roots

    chain = identity_folder() / CHAIN_FILE
    return [roots(chain.read_bytes())] if chain.is_file() else []


def _lines(file: str, verdict: Any) -> list[str]:
    if verdict.state == "unsigned":
        return [f"{file}: unsigned", *(f"  {problem}" for problem in verdict.problems)]
    trust = "trusted" if verdict.trusted else "nobody here vouches for the signer"
    first = f"{file}: {verdict.state} ({verdict.place}; signed by {verdict.signer or 'nobody known'}; {trust})"
    shown = [f"  {entry['label']}: {json.dumps(entry['data'])}" for entry in verdict.manifest.get("assertions", ())]
    return [first, *(f"  {problem}" for problem in verdict.problems), *shown]
