"""Runs a workflow: in order, with progress, each result kept no longer than needed (packaging.md 3.3 Execution)."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from . import io
from .calls import Result, execute, hidden_values, locked
from .errors import NodeError, NodeUserError
from .inputs import Link, Slots, link_of, literal, unfold
from .keys import node_key
from .runtime import Call, Interrupted, Observer, calling
from .schema import Registry, overrides, schema_of
from .settings import Settings, current, use
from .validate import Prompt, node_name, output_nodes, title_of, validate


@dataclass(kw_only=True)
class Cache:
    """Results that outlive a run, those of the last workflow only. Give the same one to every run of a session."""

    results: dict[str, Result] = field(default_factory=dict)

    def clear(self) -> None:
        """Forget all results."""
        self.results.clear()


@dataclass(frozen=True, kw_only=True)
class _Step:
    """A node to run: what its entry says, and the key of its results."""

    node_id: str
    node: type[io.ComfyNode]
    slots: Slots
    values: Mapping[str, Any]  # by entry name: a converted literal or a Link
    key: str

    def links(self) -> list[Link]:
        return [value for value in self.values.values() if isinstance(value, Link)]


def run(
    prompt: Prompt,
    registry: Registry,
    *,
    settings: Settings | None = None,
    observer: Observer | None = None,
    keep: Cache | None = None,
    stop: threading.Event | None = None,
    extra_pnginfo: dict[str, Any] | None = None,
) -> dict[str, Result]:
    """Validates and runs a workflow; returns the results of its output nodes by node id.

    Without `keep` each value is dropped after its last consumer (a text encoder must not outlive its node); with it
    results stay for the next run of the same cache. `stop` interrupts: `Interrupted` comes through untouched. Nodes run
    under `torch.inference_mode()`. Raises WorkflowError before anything runs, NodeUserError where a node refuses its
    input (ValueError), NodeError where it fails otherwise.
    """
    observer = observer or Observer()
    with use(settings or current()):
        report = validate(prompt, registry)
        for warning in report.warnings:
            observer.warning(warning)
        report.raise_problems()
        plan = _plan(report.order, prompt, registry, observer)
        roots = output_nodes(prompt, registry)
        return _Run(prompt, plan, roots, observer, stop or threading.Event(), keep, extra_pnginfo).all()


class _Run:
    """One run's results by key, and how often each of their values will still be asked for."""

    def __init__(
        self,
        prompt: Prompt,
        plan: dict[str, _Step],
        roots: list[str],
        observer: Observer,
        stop: threading.Event,
        keep: Cache | None,
        extra_pnginfo: dict[str, Any] | None,
    ) -> None:
        self.prompt, self.plan, self.roots, self.observer, self.stop = prompt, plan, roots, observer, stop
        self.extra_pnginfo = extra_pnginfo
        self.drops = keep is None
        self.results = {} if keep is None else keep.results
        unique = {step.key: step for step in plan.values()}
        self.uses = Counter((plan[link.node_id].key, link.index) for step in unique.values() for link in step.links())
        self.root_keys = {plan[node_id].key for node_id in roots}
        for stale in self.results.keys() - unique.keys():
            del self.results[stale]

    def all(self) -> dict[str, Result]:
        """Runs what is not there yet, in order."""
        for step in self.plan.values():
            if step.key in self.results:
                self.observer.node_finished(step.node_id, cached=True)
            else:
                self.results[step.key] = self._execute(step)
                self.observer.node_finished(step.node_id, cached=False)
                self._drop_used(step)
        return {node_id: self.results[self.plan[node_id].key] for node_id in self.roots}

    def _execute(self, step: _Step) -> Result:
        entry = self.prompt[step.node_id]
        call = Call(node_id=step.node_id, observer=self.observer, stop=self.stop)
        if self.stop.is_set():
            raise Interrupted("interrupted by the user")
        self.observer.node_started(step.node_id, title_of(entry) or entry["class_type"])
        node = locked(step.node, hidden_values(step.node, step.node_id, self.prompt, self.extra_pnginfo))
        try:
            with calling(call), torch.inference_mode():
                return execute(node, step.slots.nest({name: self._value(given) for name, given in step.values.items()}))
        except Exception as error:
            raise _node_error(error, step.node_id, entry) from error

    def _value(self, given: Any) -> Any:
        return self.results[self.plan[given.node_id].key].values[given.index] if isinstance(given, Link) else given

    def _drop_used(self, step: _Step) -> None:
        """Forget the values that nobody asks for any more: of this node's sources, and its own unused ones."""
        if not self.drops:
            return
        sources = [(self.plan[link.node_id].key, link.index) for link in step.links()]
        self.uses.subtract(sources)
        own = [(step.key, index) for index in range(len(self.results[step.key].values))]
        for key, index in (*sources, *own):
            if self.uses[key, index] <= 0 and key not in self.root_keys:
                self.results[key].values[index] = None


def _plan(order: tuple[str, ...], prompt: Prompt, registry: Registry, observer: Observer) -> dict[str, _Step]:
    steps: dict[str, _Step] = {}
    for node_id in order:
        node, entries = registry[prompt[node_id]["class_type"]], prompt[node_id]["inputs"]
        slots = unfold(schema_of(node).inputs, entries)
        values = {slot.name: link_of(raw) or literal(slot.given, raw) for slot, raw in slots.given_in(entries)}
        keys = {given.node_id: steps[given.node_id].key for given in values.values() if isinstance(given, Link)}
        fingerprint = _fingerprint(node, node_name(node_id, prompt[node_id]), slots, values, observer)
        key = node_key(node, node_id, values, keys, fingerprint)
        steps[node_id] = _Step(node_id=node_id, node=node, slots=slots, values=values, key=key)
    return steps


def _fingerprint(
    node: type[io.ComfyNode], name: str, slots: Slots, values: Mapping[str, Any], observer: Observer
) -> Any:
    """The node's own word on whether its inputs changed; links are None there. An exception counts as changed."""
    if not overrides(node, "fingerprint_inputs"):
        return None
    literals = {entry: None if isinstance(value, Link) else value for entry, value in values.items()}
    try:
        return node.fingerprint_inputs(**slots.nest(literals))
    except Exception as error:
        observer.warning(f"{name}: its fingerprint failed, so it runs again: {type(error).__name__}: {error}")
        return float("nan")


def _node_error(error: Exception, node_id: str, entry: Mapping[str, Any]) -> NodeError:
    name = node_name(node_id, entry)
    if isinstance(error, ValueError):
        return NodeUserError(f"{name}: {error}", node_id)
    return NodeError(f"{name}: {type(error).__name__}: {error}", node_id)
