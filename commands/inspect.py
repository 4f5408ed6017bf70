"""`openltx inspect`: what a model file, or a published model, is made of."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from typing import Any

HELP = "show what a model file, or a published model, is made of"


def add(command: argparse.ArgumentParser) -> None:
    command.add_argument("files", nargs="*", metavar="FILE", help="a model file, or a folder with its shards")
    command.add_argument("--config", metavar="NAME", help="a published model, for instance ltx-2.3-22b")
    command.add_argument("--hash", action="store_true", help="sha256 of each file; reads all of it")
    command.add_argument("--json", action="store_true")


def run(arguments: argparse.Namespace) -> int:
    if bool(arguments.files) == bool(arguments.config):
        raise ValueError("inspect: expected either files or --config NAME; see 'openltx inspect --help'")
    return _inspect_published(arguments) if arguments.config else _inspect_files(arguments)


def _inspect_files(arguments: argparse.Namespace) -> int:
    """One report a file; a file that is none costs one line and the exit code, not the other reports."""
    from ..model_loaders.inspect import inspect_file

    rows: list[dict[str, Any]] = []
    for file in arguments.files:
        try:
            report = inspect_file(file, sha256=arguments.hash)
        except ValueError as error:
            rows.append({"path": file, "error": str(error)})
            print(f"openltx: {error}", file=sys.stderr)
            continue
        rows.append(report.as_json())
        if not arguments.json:
            print("\n".join(report.lines()))
    if arguments.json:
        print(json.dumps({"files": rows}))
    return 2 if any("error" in row for row in rows) else 0


def _inspect_published(arguments: argparse.Namespace) -> int:
    from ..model_loaders.inspect import structure

    rows = structure(arguments.config)
    if arguments.json:
        print(json.dumps({"model": arguments.config, "components": [asdict(row) for row in rows]}))
        return 0
    print(f"{'component':<24}{'tensors':>9}{'parameters':>18}{'bf16, GB':>10}")
    for row in rows:
        grouped = f"{row.parameters:,}".replace(",", " ")
        print(f"{row.component:<24}{row.tensors:>9}{grouped:>18}{row.parameters * 2 / 1e9:>10.2f}")
    return 0
