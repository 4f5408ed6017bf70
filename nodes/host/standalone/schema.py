"""A node's schema as the host uses it: defaults filled in, mistakes found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from . import io

Registry = Mapping[str, type[io.ComfyNode]]
"""Node classes by node id."""


def registry_of(nodes: Iterable[type[io.ComfyNode]]) -> dict[str, type[io.ComfyNode]]:
    """Node classes by the id in their schema. An id given twice is our mistake."""
    registry: dict[str, type[io.ComfyNode]] = {}
    for node in nodes:
        node_id = schema_of(node).node_id
        assert node_id not in registry, f"two nodes with the id {node_id}"
        registry[node_id] = node
    return registry


def schema_of(node: type[io.ComfyNode]) -> io.Schema:
    """The schema with its hidden values complete and every output named, as ComfyUI finalises it."""
    schema = node.define_schema()
    if schema.is_output_node:
        wanted = (io.Hidden.prompt, io.Hidden.extra_pnginfo)
        schema.hidden = schema.hidden + [name for name in wanted if name not in schema.hidden]
    for index, output in enumerate(schema.outputs):
        if output.id is None:
            output.id = made_up_id(index, output)
    _check_unique(schema.node_id, "input", [given.id for given in schema.inputs])
    _check_unique(schema.node_id, "output", [str(output.id) for output in schema.outputs])
    return schema


def made_up_id(index: int, output: io.BaseOutput) -> str:
    """ComfyUI's id for an output whose author gave none."""
    return f"_{index}_{output.io_type}_"


def overrides(node: type[io.ComfyNode], method: str) -> bool:
    """Whether a node brings its own version of an optional method."""
    return getattr(node, method).__func__ is not getattr(io.ComfyNode, method).__func__


def _check_unique(node_id: str, side: str, ids: list[str]) -> None:
    repeated = [name for name, count in Counter(ids).items() if count > 1]
    assert not repeated, f"node {node_id}: {side} ids must be unique, but {', '.join(repeated)} occur twice"
