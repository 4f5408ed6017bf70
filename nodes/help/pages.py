"""A help page a node: its facts from the schema, and what only people know from `notes`.

ComfyUI shows web/docs/<NodeId>.md for the node of that id (comfyui_host.md 5.1).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ..host.standalone import io
from ..host.standalone.runtime import FileOptions, ModelOptions
from ..host.standalone.schema import Registry, schema_of
from .errors import MISSING
from .note import Note
from .notes import NOTES

PAGES = Path(__file__).resolve().parents[2] / "web" / "docs"
WHOSE = "Messages of this node, or of one that takes its result (… stands for a value):"
MODEL_SUFFIXES = (".safetensors", ".gguf")


def page_files(registry: Registry) -> dict[Path, str]:
    """The text of every page by its path."""
    return {PAGES / f"{name}.md": page(schema_of(node)) for name, node in registry.items()}


def stray_pages(registry: Registry) -> list[Path]:
    """Pages of nodes that are gone."""
    return [path for path in sorted(PAGES.glob("OpenLTX*.md")) if path.stem not in registry]


def page(schema: io.Schema) -> str:
    """The Markdown of one page."""
    note = NOTES.get(schema.node_id, Note())
    inputs = [_input_row(given) for entry in schema.inputs for given in _unfolded(entry)]
    outputs = [(f"`{output.id}`", output.io_type, output.tooltip or "") for output in schema.outputs]
    parts = [
        f"# {schema.display_name}",
        schema.description,
        note.use,
        _section("Inputs", _table(("input", "type", "legal values", "default", "what it is"), inputs)),
        _section("Outputs", _table(("output", "type", "what it is"), outputs)),
        _section("Memory", note.memory),
        _section("What can go wrong", _errors([*note.errors, *_errors_of_files(schema)])),
        f"Node id: `{schema.node_id}`. Category: {schema.category}.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _unfolded(entry: io.BaseInput) -> Iterator[io.BaseInput]:
    yield entry
    if isinstance(entry, io.DynamicCombo.Input):
        for option in entry.options:
            yield from option.inputs


def _input_row(entry: io.BaseInput) -> tuple[str, ...]:
    need = "" if not entry.optional else " (optional)"
    kind = entry.template.input.io_type if isinstance(entry, io.Autogrow.Input) else entry.io_type
    return (f"`{entry.id}`{need}", kind, _legal(entry), _default(entry), entry.tooltip or "")


def _legal(entry: io.BaseInput) -> str:
    """The values that an input may have, in words; empty for a link."""
    if isinstance(entry, io.Autogrow.Input):
        return f"{entry.template.min} to {len(entry.template.names)} links"
    if isinstance(entry, io.Combo.Input):
        return _choices(entry.options)
    if isinstance(entry, io.DynamicCombo.Input):
        return _choices([option.key for option in entry.options])
    if isinstance(entry, io.Boolean.Input):
        return "on, off"
    if isinstance(entry, io.Int.Input | io.Float.Input) and entry.min is not None:
        step = "" if entry.step in (None, 1) or isinstance(entry, io.Float.Input) else f", in steps of {entry.step}"
        return f"{number(entry.min)} to {number(entry.max)}{step}"
    return "text" if isinstance(entry, io.String.Input) else ""


def _choices(options: Sequence[Any]) -> str:
    """Options one by one; of files, which every machine has others of, only those that are no file."""
    if not lists_files(options):
        return ", ".join(f"`{option}`" for option in options)
    fixed = [f"`{option}`" for option in options if " " in str(option) and "." not in str(option)]
    return " or ".join([*fixed, "a file of the list"])


def lists_files(options: Sequence[Any]) -> bool:
    """Whether a combo's options are files, which depend on the machine."""
    return isinstance(options, FileOptions) or any(str(option).endswith(MODEL_SUFFIXES) for option in options)


def _default(entry: io.BaseInput) -> str:
    value = getattr(entry, "default", None)
    if value is None or value == "":
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"`{number(value)}`"


def number(value: Any) -> str:
    """Without a fraction that is zero."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _errors_of_files(schema: io.Schema) -> Iterator[str]:
    """What every node with a list of models says."""
    if any(isinstance(getattr(entry, "options", None), ModelOptions) for entry in schema.inputs):
        yield MISSING


def _errors(texts: Iterable[str]) -> str:
    lines = [f"- `{text}`" for text in dict.fromkeys(texts)]
    return "\n".join([WHOSE, "", *lines]) if lines else ""


def _section(title: str, text: str) -> str:
    return f"## {title}\n\n{text}" if text else ""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in lines
    )
