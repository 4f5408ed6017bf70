"""The inputs of a node as one entry of a workflow file gives them: unfolded, converted, nested again.

In the file dynamic inputs are flat (`mode`, `mode.gain`, `items.img0`); `execute` gets them nested. Source:
packaging.md 3.3 (Validation 4 to 6), comfyui_host.md 1.3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from . import io


@dataclass(frozen=True, kw_only=True)
class Link:
    """The source of a value: output number `index` of the node `node_id`."""

    node_id: str
    index: int


@dataclass(frozen=True, kw_only=True)
class Slot:
    """One possible entry of a node in a file: `name` in the file, `path` in the arguments of `execute`.

    `none_if_absent`: a sub-input of a chosen option reaches `execute` as None without a value, as it does in ComfyUI.
    """

    name: str
    given: io.BaseInput
    required: bool
    path: tuple[str, ...]
    none_if_absent: bool = False


@dataclass(frozen=True, kw_only=True)
class Slots:
    """All entries that a node can have, given the options chosen.

    `groups` are the paths of arguments that are a dict even if nothing is in it.
    """

    slots: tuple[Slot, ...]
    groups: tuple[tuple[str, ...], ...]

    def nest(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The keyword arguments of `execute` from values by entry name."""
        arguments: dict[str, Any] = {}
        for group in self.groups:
            _descend(arguments, group)
        for slot in self.slots:
            if slot.name in values or slot.none_if_absent:
                _descend(arguments, slot.path[:-1])[slot.path[-1]] = values.get(slot.name)
        return arguments

    def given_in(self, entries: Mapping[str, Any]) -> Iterable[tuple[Slot, Any]]:
        """The slots that a file's entries fill, in the schema's order, with their raw values."""
        return ((slot, entries[slot.name]) for slot in self.slots if slot.name in entries)


def unfold(inputs: Iterable[io.BaseInput], entries: Mapping[str, Any]) -> Slots:
    """The slots of a node whose file entries are `entries` (which decide about the options of a DynamicCombo)."""
    slots: list[Slot] = []
    groups: list[tuple[str, ...]] = []
    for given in inputs:
        _unfold_one(given, (), entries, slots, groups)
    return Slots(slots=tuple(slots), groups=tuple(groups))


def link_of(value: Any) -> Link | None:
    """The link that a raw value is, or None for a literal. A list that is no link raises ValueError."""
    if not isinstance(value, list):
        return None
    match value:
        case [str(node_id), int(index)] if index >= 0 and not isinstance(index, bool):
            return Link(node_id=node_id, index=index)
    raise ValueError('expected a link ["node id", output number] (a literal list is {"__value__": […]})')


def literal(given: io.BaseInput, value: Any) -> Any:
    """A literal of the file as `execute` gets it: unwrapped, converted as Python does, within its range or options.

    Raises ValueError that says what was expected.
    """
    if isinstance(value, dict) and "__value__" in value:
        value = value["__value__"]
    converter = CONVERTERS.get(given.io_type)
    if converter is not None:
        value = _converted(given.io_type, converter, value)
    _check_range(given, value)
    _check_choice(given, value)
    return value


def is_lossy(given: io.BaseInput, value: Any) -> bool:
    """Whether the conversion of a literal says something else than the file: 4.7 as INT, "false" as BOOLEAN."""
    if given.io_type == "INT":
        return isinstance(value, float) and value != int(value)
    return given.io_type == "BOOLEAN" and not isinstance(value, bool) and value not in (0, 1)


CONVERTERS: dict[str, Callable[[Any], Any]] = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}


def _unfold_one(
    given: io.BaseInput,
    parents: tuple[str, ...],
    entries: Mapping[str, Any],
    slots: list[Slot],
    groups: list[tuple[str, ...]],
) -> None:
    path = (*parents, given.id)
    if isinstance(given, io.Autogrow.Input):
        groups.append(path)
        template = given.template
        for index, name in enumerate(template.names):
            required = index < template.min and not template.input.optional
            place = (*path, name)
            slots.append(Slot(name=".".join(place), given=template.input, required=required, path=place))
    elif isinstance(given, io.DynamicCombo.Input):
        slots.append(Slot(name=".".join(path), given=given, required=not given.optional, path=(*path, given.id)))
        chosen = entries.get(".".join(path))
        for option in given.options:
            for sub_input in option.inputs if option.key == chosen else ():
                _unfold_one(sub_input, path, entries, slots, groups)
    else:
        required, is_sub_input = not given.optional, bool(parents)
        name = ".".join(path)
        slots.append(Slot(name=name, given=given, required=required, path=path, none_if_absent=is_sub_input))


def _descend(arguments: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    for name in path:
        arguments = arguments.setdefault(name, {})
    return arguments


def _converted(io_type: str, converter: Callable[[Any], Any], value: Any) -> Any:
    try:
        return converter(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"expected {io_type}") from None


def _check_range(given: io.BaseInput, value: Any) -> None:
    if not isinstance(given, (io.Int.Input, io.Float.Input)):
        return
    if (given.min is not None and value < given.min) or (given.max is not None and value > given.max):
        low = "" if given.min is None else f" from {given.min}"
        high = "" if given.max is None else f" up to {given.max}"
        raise ValueError(f"expected {given.io_type}{low}{high}")


def _check_choice(given: io.BaseInput, value: Any) -> None:
    if isinstance(given, io.Combo.Input) and value not in given.options:
        raise ValueError(f"expected one of {_listing(list(given.options))}{getattr(given.options, 'hint', '')}")
    if isinstance(given, io.DynamicCombo.Input) and value not in (keys := [option.key for option in given.options]):
        raise ValueError(f"expected one of {_listing(keys)}")


def _listing(options: list[Any]) -> str:
    shown = ", ".join(repr(option) for option in options[:20])
    return (shown or "(none there)") + (f" … ({len(options)} in all)" if len(options) > 20 else "")
