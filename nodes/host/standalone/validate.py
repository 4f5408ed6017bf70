"""Checks a workflow before anything runs and reports every problem at once, one line each.

Source: packaging.md 3.3 Validation. Importable without torch.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ....given_text import quoted
from . import io
from .errors import SHOWN, WorkflowError
from .graph import order
from .inputs import Link, Slot, Slots, is_lossy, link_of, literal, unfold
from .schema import Registry, overrides, schema_of

LONGEST = 100  # characters of a name in a message
Prompt = Mapping[str, Mapping[str, Any]]
"""A workflow in API format: node id -> {"class_type", "inputs", "_meta"}."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What validation found. `order` lists the nodes to run, sources first; empty where there are problems."""

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    order: tuple[str, ...] = ()

    def raise_problems(self) -> None:
        """Raises WorkflowError with all problems, if there are any."""
        if self.problems:
            raise WorkflowError(self.problems)


def validate(prompt: Prompt, registry: Registry) -> Report:
    """Checks `prompt` against the schemas of `registry`; in depth only what an output node needs."""
    problems = list(_shape_problems(prompt, registry))
    if problems:
        return Report(problems=problems)
    checks = {node_id: _NodeCheck(node_id, prompt, registry) for node_id in prompt}
    roots = output_nodes(prompt, registry)
    if not roots:
        return Report(problems=["workflow: expected at least one output node (save, preview), found none"])
    needed = order(roots, lambda node_id: checks[node_id].sources())
    for node_id in needed.nodes:
        checks[node_id].run()
    problems = [_cycle_problem(cycle, prompt) for cycle in needed.cycles]
    problems += [problem for node_id in needed.nodes for problem in checks[node_id].problems]
    warnings = [warning for node_id in needed.nodes for warning in checks[node_id].warnings]
    return Report(problems=problems, warnings=warnings, order=() if problems else needed.nodes)


def output_nodes(prompt: Prompt, registry: Registry) -> list[str]:
    """Ids of the nodes that a run starts from."""
    return [node_id for node_id, node in prompt.items() if schema_of(registry[node["class_type"]]).is_output_node]


def node_name(node_id: str, node: Mapping[str, Any]) -> str:
    """`node 3 (Class, 'title')`, as every message names a node."""
    title = title_of(node)
    return f"node {node_id[:LONGEST]} ({node['class_type'][:LONGEST]}" + (f", {quoted(title)})" if title else ")")


def title_of(node: Mapping[str, Any]) -> str | None:
    """The title that the file gives a node."""
    meta = node.get("_meta")
    title = meta.get("title") if isinstance(meta, Mapping) else None
    return title if isinstance(title, str) else None


def _shape_problems(prompt: Prompt, registry: Registry) -> Iterator[str]:
    hints: dict[str, str] = {}  # a file of another program names the same few types thousands of times
    for node_id, node in prompt.items():
        if not isinstance(node, Mapping):
            yield f"node {node_id}: expected an object with class_type and inputs, found {quoted(node)}"
        elif not isinstance(node.get("class_type"), str):
            yield f"node {node_id}: expected a class_type, found {quoted(node.get('class_type'))}"
        elif not isinstance(node.get("inputs"), Mapping):
            yield f"{node_name(node_id, node)}: expected an object of inputs, found {quoted(node.get('inputs'))}"
        elif node["class_type"] not in registry:
            kind = node["class_type"]
            hints[kind] = hint = hints.get(kind) or _hint(kind, registry)
            yield f"{node_name(node_id, node)}: expected a known node type, found {quoted(kind)}{hint}"


def _hint(kind: str, registry: Registry) -> str:
    similar = difflib.get_close_matches(kind[:LONGEST], registry, n=1)
    return f"; did you mean {similar[0]}?" if similar else "; it is not part of OpenLTX's own host"


def _cycle_problem(cycle: tuple[str, ...], prompt: Prompt) -> str:
    shown = cycle if len(cycle) <= SHOWN else (*cycle[: SHOWN - 1], cycle[-1])
    path = " -> ".join(f"{node_id} ({prompt[node_id]['class_type']})" for node_id in shown)
    return f"workflow: expected no cycle, found {path}" + (f" ({len(cycle)} nodes)" if len(cycle) > SHOWN else "")


class _NodeCheck:
    """The checks of one node; `problems` and `warnings` fill up in `run`."""

    def __init__(self, node_id: str, prompt: Prompt, registry: Registry) -> None:
        self.prompt, self.registry = prompt, registry
        self.name = node_name(node_id, prompt[node_id])
        self.node = registry[prompt[node_id]["class_type"]]
        self.entries: Mapping[str, Any] = prompt[node_id]["inputs"]
        self.slots: Slots = unfold(schema_of(self.node).inputs, self.entries)
        self.problems: list[str] = []
        self.warnings: list[str] = []

    def sources(self) -> list[str]:
        """Existing nodes that the known inputs link to, in order."""
        links = (_link_or_none(raw) for _, raw in self.slots.given_in(self.entries))
        return [link.node_id for link in links if link is not None and link.node_id in self.prompt]

    def run(self) -> None:
        values: dict[str, Any] = {}
        for slot in self.slots.slots:
            if slot.name in self.entries:
                self._check_entry(slot, self.entries[slot.name], values)
            elif slot.required:
                self._problem(slot.name, f"expected {_kind(slot.given)}, found nothing")
        self._warn_of_unknown()
        if not self.problems and overrides(self.node, "validate_inputs"):
            self._ask_node(values)

    def _check_entry(self, slot: Slot, raw: Any, values: dict[str, Any]) -> None:
        try:
            link = link_of(raw)
            if link is not None:
                values[slot.name] = None
                self._check_link(slot, link)
            elif isinstance(slot.given, io.Socket.Input) and slot.given.io_type != "*":
                raise ValueError(f"expected a link to {slot.given.io_type}")
            else:
                values[slot.name] = literal(slot.given, raw)
                if is_lossy(slot.given, raw):
                    self._warning(slot.name, f"{quoted(raw)} is taken as {quoted(values[slot.name])}")
        except ValueError as error:
            self._problem(slot.name, f"{error}, found {quoted(raw)}")

    def _check_link(self, slot: Slot, link: Link) -> None:
        if isinstance(slot.given, io.DynamicCombo.Input):
            raise ValueError("expected an option, as its inputs depend on it")
        source = self.prompt.get(link.node_id)
        if source is None:
            raise ValueError("expected a link to a node of this workflow")
        name = node_name(link.node_id, source)
        outputs = schema_of(self.registry[source["class_type"]]).outputs
        if link.index >= len(outputs):
            raise ValueError(f"expected a link to one of the {len(outputs)} outputs of {name}")
        if not _fits(outputs[link.index].io_type, slot.given.io_type):
            raise ValueError(f"expected {slot.given.io_type}, linked is {outputs[link.index].io_type} of {name}")

    def _warn_of_unknown(self) -> None:
        known = [slot.name for slot in self.slots.slots]
        for name in self.entries:
            if name not in known:
                similar = difflib.get_close_matches(name, known, n=1)
                self._warning(name, "unknown, ignored" + (f"; did you mean {similar[0]!r}?" if similar else ""))

    def _ask_node(self, values: dict[str, Any]) -> None:
        signature = inspect.signature(self.node.validate_inputs).parameters
        takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature.values())
        arguments = self.slots.nest(values)
        answer = self.node.validate_inputs(**{k: v for k, v in arguments.items() if takes_all or k in signature})
        if answer is not True:
            self.problems.append(f"{self.name}: {answer or 'refuses its inputs'}")

    def _problem(self, name: str, text: str) -> None:
        self.problems.append(f"{self.name}, input {name!r}: {text}")

    def _warning(self, name: str, text: str) -> None:
        self.warnings.append(f"{self.name}, input {name!r}: {text}")


def _link_or_none(raw: Any) -> Link | None:
    try:
        return link_of(raw)
    except ValueError:
        return None  # reported where the entry is checked


def _kind(given: io.BaseInput) -> str:
    if isinstance(given, io.Socket.Input):
        return f"a link to {given.io_type}"
    return (
        "an option"
        if isinstance(given, (io.Combo.Input, io.DynamicCombo.Input))
        else f"a value of type {given.io_type}"
    )


def _fits(offered: str, wanted: str) -> bool:
    return "*" in (offered, wanted) or bool(set(offered.split(",")) & set(wanted.split(",")))
