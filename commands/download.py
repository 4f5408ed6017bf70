"""`openltx download`: published files, by name, with size and licence shown before anything is fetched."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

HELP = "fetch published models by name, after showing sizes and licences"


def add(command: argparse.ArgumentParser) -> None:
    command.add_argument("name", nargs="?", metavar="NAME", help="a set or a file; without it, they are listed")
    command.add_argument("--to", default="models", metavar="DIR", help="folder with checkpoints/ …; default: models")
    command.add_argument("--dry-run", action="store_true", help="show what would be fetched, and where to")
    command.add_argument("--yes", action="store_true", help="do not ask")
    command.add_argument("--json", action="store_true", help="print the result as JSON")


def run(arguments: argparse.Namespace) -> int:
    from ..model_loaders.catalogue import BUNDLES
    from ..model_loaders.download import asked, fetch, listed
    from ..nodes.host.files import MODEL_ROLES

    if arguments.name is None:
        rows = {bundle.name: bundle.what for bundle in BUNDLES}
        print(json.dumps(rows) if arguments.json else "\n".join(f"{name:<24} {what}" for name, what in rows.items()))
        return 0
    items = asked(listed(arguments.name, {role: Path(arguments.to) / role for role in MODEL_ROLES}))
    for item in items:
        print(item.line(), file=sys.stderr if arguments.json else sys.stdout)
    if not arguments.dry_run and (arguments.yes or _wanted(sum(i.bytes or 0 for i in items if not i.present))):
        files = fetch(items)
        print(json.dumps({"files": [str(file) for file in files]}) if arguments.json else "\n".join(map(str, files)))
    elif arguments.json:
        print(json.dumps({"items": [item.as_json() for item in items]}))
    return 0


def _wanted(total: int) -> bool:
    """Asks where someone can answer; elsewhere the command itself is the answer."""
    if not total or not sys.stdin.isatty():
        return True
    return input(f"fetch {total / 1e9:.3f} GB? [y/N] ").strip().lower() in ("y", "yes")
