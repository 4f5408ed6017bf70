"""`openltx workflows cache`: what is kept of rendered shots, how much that is, and away with it."""

from __future__ import annotations

import argparse
import json
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..shots.store import Entry

HELP = "list what is kept of rendered shots, or clear it"
MB = 1e6


def add(commands: Any) -> None:
    command = commands.add_parser("cache", help=HELP, description=HELP, allow_abbrev=False)
    command.add_argument("--size", action="store_true", help="only the size in all")
    command.add_argument("--clear", action="store_true", help="remove everything")
    command.add_argument("--json", action="store_true")
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from ..shots.store import usual_store

    store = usual_store()
    cleared = store.clear() if arguments.clear else 0
    entries = store.entries()
    size = sum(entry.bytes for entry in entries)
    if arguments.json:
        rows = [_row(entry) for entry in entries]
        print(json.dumps({"folder": str(store.folder), "bytes": size, "limit": store.limit, "entries": rows}))
        return 0
    if not arguments.size and not arguments.clear:
        for entry in entries:
            print(_line(entry))
    done = f", {cleared} removed" if arguments.clear else ""
    print(f"{store.folder}: {len(entries)} entries, {size / MB:.1f} MB of at most {store.limit / MB:.0f}{done}")
    return 0


def _row(entry: Entry) -> dict[str, Any]:
    told = {name: entry.told.get(name) for name in ("kind", "film", "shot")}
    return {"key": entry.key, "bytes": entry.bytes, "used": entry.used, **told}


def _line(entry: Entry) -> str:
    used = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.used))
    name = f"{entry.told.get('film') or '-'}: {entry.told.get('shot')}"
    return f"{entry.key[:12]}  {used}  {entry.bytes / MB:8.1f} MB  {entry.told.get('kind'):<6}  {name}"
