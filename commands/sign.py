"""`openltx sign`: content credentials into files that are there."""

from __future__ import annotations

import argparse
import shutil
from functools import partial
from pathlib import Path
from typing import Any

from ..given_text import parse_json

HELP = "put content credentials (C2PA) into a file"


def add(command: argparse.ArgumentParser) -> None:
    command.add_argument("files", nargs="*", metavar="FILE", help="a finished file; mkv, webm, opus, exr: beside it")
    command.add_argument("--make-certificate", metavar="NAME", help="make a local certificate for NAME, once")
    command.add_argument("--certificate", metavar="PEM", help="your chain, your own certificate first")
    command.add_argument("--key", metavar="PEM", help="its private key")
    command.add_argument("--with-prompt", action="store_true", help="state the prompt, too, if the file carries it")


def run(arguments: argparse.Namespace) -> int:
    from ..media.certificates import load_identity, make_identity

    if arguments.make_certificate is not None:
        print(make_identity(arguments.make_certificate))
    elif not arguments.files:
        raise ValueError("sign: expected a file, found none; see 'openltx sign --help'")
    if bool(arguments.certificate) != bool(arguments.key):
        raise ValueError("sign: expected --certificate and --key together, found one of them")
    if not arguments.files:
        return 0
    chosen = (Path(arguments.certificate), Path(arguments.key)) if arguments.certificate else ()
    identity = load_identity(*chosen)
    for file in map(Path, arguments.files):
        sign_in_place(file, identity, with_prompt=arguments.with_prompt)
        print(file)
    return 0


def sign_in_place(path: Path, identity: Any, *, with_prompt: bool) -> None:
    """Sign a file that is there; it stays as it was where that fails. Raises ValueError as `sign_file`."""
    from ..media.credentials import sign_file
    from ..media.targets import whole_file

    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    with whole_file(path, partial(sign_file, identity=identity, statement=_statement(path, with_prompt))) as temporary:
        shutil.copy(path, temporary)


def _statement(path: Path, with_prompt: bool) -> dict[str, Any]:
    from ..media.texts import read_texts
    from ..nodes.sealing import statement

    try:
        prompt = parse_json(read_texts(path).get("prompt", "{}"))
    except ValueError:  # no texts, or other people's: there is nothing to tell then
        prompt = {}
    ours = isinstance(prompt, dict) and all(isinstance(node, dict) for node in prompt.values())
    return statement(prompt if ours else {}, with_prompt=with_prompt)
