"""What saved workflows rely on, recorded so that no change goes unseen: `python -m openltx.nodes.surface`.

Workflows name node ids, input names (API format) and the order of widgets (UI format), and outputs by their place
(comfyui_host.md 1.5). The script records new nodes, new outputs and new optional inputs at the end. It refuses
everything else, unless it is run with --anyway: then old workflows break, or need an entry in a node replacement.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from .help.pages import lists_files
from .host.replaced import REPLACED, Replacement
from .host.standalone import io
from .host.standalone.schema import Registry, registry_of, schema_of

RECORD = Path(__file__).resolve().parents[1] / "tests" / "surface.json"
Surface = Mapping[str, Mapping[str, Any]]


def surface(registry: Registry) -> dict[str, dict[str, Any]]:
    """Of each node id its inputs by group, in order, and its outputs."""
    return {name: _node(schema_of(registry[name])) for name in sorted(registry)}


def breaks(recorded: Surface, present: Surface, table: Iterable[Replacement] = REPLACED) -> list[str]:
    """What a saved workflow would notice, one line each; nothing where nodes were only added to, or replaced."""
    replaced = {entry.old for entry in table if entry.new in present and entry.old not in present}
    kept = {name: node for name, node in recorded.items() if name not in replaced}
    return [line for name, node in kept.items() for line in _breaks_of_node(name, node, present.get(name))]


def text_of(present: Surface) -> str:
    """The record's text, one line an input or output."""
    text = json.dumps(present, indent=1)
    return re.sub(r"\{[^{}]*\}", lambda entry: json.dumps(json.loads(entry[0])), text) + "\n"


def _breaks_of_node(name: str, old: Mapping[str, Any], new: Mapping[str, Any] | None) -> Iterator[str]:
    if new is None:
        yield f"{name}: expected a node with this id, found none; name what replaces it in nodes/host/replaced.py"
        return
    for group in ("required", "optional", "outputs"):
        for place, entry in enumerate(old[group]):
            found = new[group][place] if place < len(new[group]) else None
            if not _serves(entry, found):
                yield f"{name}: {group} {place}: expected {entry}, found {found}; add at the end, change nothing"
    if len(new["required"]) > len(old["required"]):
        added = [entry["id"] for entry in new["required"][len(old["required"]) :]]
        yield f"{name}: expected no new required inputs, found {', '.join(added)}; make them optional"


def _serves(old: Mapping[str, Any], new: Mapping[str, Any] | None) -> bool:
    """Whether `new` stands for `old`: equal, but for more options."""
    if new is None:
        return False
    kept = set(old.get("options") or ()) <= set(new.get("options") or ())
    return kept and {**old, "options": None} == {**new, "options": None}


def _node(schema: io.Schema) -> dict[str, Any]:
    return {
        "required": [_input(entry) for entry in schema.inputs if not entry.optional],
        "optional": [_input(entry) for entry in schema.inputs if entry.optional],
        "outputs": [{"id": output.id, "type": output.io_type, "options": None} for output in schema.outputs],
    }


def _input(entry: io.BaseInput) -> dict[str, Any]:
    options = getattr(entry, "options", None)
    if isinstance(entry, io.DynamicCombo.Input):
        options = [option.key for option in entry.options]
    if isinstance(entry, io.Autogrow.Input):
        options = [f"{getattr(entry.template, 'prefix', '')}: {entry.template.input.io_type}"]
    return {
        "id": entry.id,
        "type": entry.io_type,
        "default": getattr(entry, "default", None),
        "socket": bool(getattr(entry, "force_input", None)),
        "control_after_generate": bool(getattr(entry, "control_after_generate", None)),
        "options": None if options is None or lists_files(options) else list(options),
    }


def main(anyway: bool) -> int:
    from .registry import NODES

    present = surface(registry_of(NODES))
    recorded = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.is_file() else {}
    found = breaks(recorded, present)
    for line in found:
        print(line)
    if found and not anyway:
        print("not recorded: saved workflows would break; undo these, or run with --anyway")
        return 1
    RECORD.write_text(text_of(present), encoding="utf-8")
    print(RECORD)
    return 0


if __name__ == "__main__":
    raise SystemExit(main("--anyway" in sys.argv[1:]))
