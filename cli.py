"""`openltx …`: the command line. Parsing only; the work is done by the modules that the commands import."""

from __future__ import annotations

import argparse
import json
import sys


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    root = argparse.ArgumentParser(prog="openltx", allow_abbrev=False)
    commands = root.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_conformance(commands)
    return root


def main(argv: list[str] | None = None) -> int:
    """Run one command. Returns the exit code: 0 done, 1 ours, 2 the user's mistake, 130 interrupted."""
    arguments = parser().parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except ValueError as error:
        print(f"openltx: {error}", file=sys.stderr)
        return 2


def _add_conformance(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser("conformance", help="run golden cases", allow_abbrev=False)
    command.add_argument("folders", nargs="*", metavar="DIR")
    command.add_argument("--device", default="cpu")
    command.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    command.add_argument("--filter", default="", metavar="TEXT", help="only paths that contain TEXT")
    command.add_argument("--generation", choices=("2", "2.3", "2.5"))
    command.add_argument("--list", action="store_true", help="show the kinds that can be run")
    command.add_argument("--json", action="store_true")
    command.set_defaults(run=_conformance)


def _conformance(arguments: argparse.Namespace) -> int:
    import torch

    from .conformance import registry, runner

    if arguments.list:
        for component, op in registry.known_kinds():
            print(component if op is None else f"{component} / {op}")
        return 0
    results = []
    for case in runner.find_cases(arguments.folders, text=arguments.filter, generation=arguments.generation):
        result = runner.run_case(case, device=arguments.device, dtype=getattr(torch, arguments.dtype))
        results.append(result)
        print(json.dumps(runner.as_json(result)) if arguments.json else runner.report_line(result), flush=True)
    passed = sum(result.passed for result in results)
    print(f"{passed} passed, {len(results) - passed} failed", file=sys.stderr if arguments.json else sys.stdout)
    return 0 if results and passed == len(results) else 1
