"""The standalone node API on its own: schemas, unfolding of dynamic inputs, light imports."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openltx.nodes.host.standalone import io
from openltx.nodes.host.standalone.graph import order
from openltx.nodes.host.standalone.inputs import Link, link_of, unfold
from openltx.nodes.host.standalone.keys import node_key
from openltx.nodes.host.standalone.schema import registry_of, schema_of


class Twice(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(node_id="Twice", inputs=[io.Int.Input("a"), io.Int.Input("a")])


class Plain(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(node_id="Plain", outputs=[io.Int.Output(), io.Int.Output("named")], is_output_node=True)


@pytest.mark.parametrize("module", ["validate", "info", "workflow", "runtime", "ui", "nested", "settings"])
def test_no_torch(module: str) -> None:
    code = (
        f"import sys, openltx.nodes.host.standalone.{module}; assert not {{'torch', 'numpy', 'av'}} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd="/")


def test_custom_types_are_distinct() -> None:
    first, second = io.Custom("A"), io.Custom("B")
    assert (first.Input("x").io_type, second.Input("x").io_type, first.Output().io_type) == ("A", "B", "A")
    assert (io.Model.Input("m").io_type, io.Int.Input("i").io_type, io.Combo.Output().io_type) == (
        "MODEL",
        "INT",
        "COMBO",
    )


def test_schema_is_finalised() -> None:
    schema = schema_of(Plain)
    assert [output.id for output in schema.outputs] == ["_0_INT_", "named"]
    assert schema.hidden == [io.Hidden.prompt, io.Hidden.extra_pnginfo]


def test_repeated_names_are_our_mistake() -> None:
    with pytest.raises(AssertionError, match="node Twice: input ids must be unique, but a occur twice"):
        schema_of(Twice)
    with pytest.raises(AssertionError, match="two nodes with the id Plain"):
        registry_of([Plain, Plain])


def test_dynamic_inputs_nest() -> None:
    images = io.Autogrow.Input("images", template=io.Autogrow.TemplatePrefix(io.Image.Input("i"), prefix="i", max=2))
    inner = io.DynamicCombo.Input("kind", options=[io.DynamicCombo.Option("k", [io.Int.Input("n")])])
    options = [io.DynamicCombo.Option("one", [images, inner]), io.DynamicCombo.Option("two", [])]
    outer = io.DynamicCombo.Input("mode", options=options)
    entries = {"mode": "one", "mode.images.i1": "picture", "mode.kind": "k", "mode.kind.n": 3}
    slots = unfold([outer], entries)
    assert [slot.name for slot in slots.slots] == [
        "mode",
        "mode.images.i0",
        "mode.images.i1",
        "mode.kind",
        "mode.kind.n",
    ]
    assert [slot.required for slot in slots.slots] == [True, True, False, True, True]
    assert slots.nest(entries) == {
        "mode": {"mode": "one", "images": {"i1": "picture"}, "kind": {"kind": "k", "n": 3}},
    }
    assert unfold([outer], {"mode": "two"}).nest({"mode": "two"}) == {"mode": {"mode": "two"}}


@pytest.mark.parametrize("value", [["a"], ["a", "0"], ["a", 0, 0], [1, 0], ["a", -1], ["a", True], []])
def test_no_links(value: list[Any]) -> None:
    with pytest.raises(ValueError, match="expected a link"):
        link_of(value)


def test_links() -> None:
    assert link_of(["a", 2]) == Link(node_id="a", index=2)
    assert link_of("a") is None


graphs = st.integers(1, 8).flatmap(
    lambda size: st.lists(st.lists(st.integers(0, size - 1)), min_size=size, max_size=size)
)


@given(graphs)
def test_order_puts_sources_first_or_names_a_cycle(edges: list[list[int]]) -> None:
    found = order(["0"], lambda node: [str(source) for source in edges[int(node)]])
    places = {node: place for place, node in enumerate(found.nodes)}
    late = [(n, s) for n in found.nodes for s in map(str, edges[int(n)]) if places[s] >= places[n]]
    assert bool(late) == bool(found.cycles)
    assert all(cycle[0] == cycle[-1] and str(cycle[1]) in map(str, edges[int(cycle[0])]) for cycle in found.cycles)


def test_long_chains() -> None:
    found = order(["0"], lambda node: [str(int(node) + 1)] if int(node) < 3000 else [])
    assert found.nodes[0] == "3000"


def test_keys_tell_types_apart() -> None:
    values: list[Any] = [1, 1.0, True, "1", None, [1], {"a": 1}, Link(node_id="s", index=0)]
    keys = {node_key(Plain, "n", {"x": value}, {"s": "k"}, None) for value in values}
    assert len(keys) == len(values)


def test_keys_ignore_ids_and_the_order_of_inputs() -> None:
    link = Link(node_id="s", index=0)
    first = node_key(Plain, "1", {"x": 1, "y": link}, {"s": "k"}, ("f",))
    assert first == node_key(Plain, "2", {"y": Link(node_id="t", index=0), "x": 1}, {"t": "k"}, ("f",))
    assert first != node_key(Plain, "1", {"x": 1, "y": link}, {"s": "other"}, ("f",))


def test_nan_never_gives_the_same_key() -> None:
    nan = float("nan")
    assert node_key(Plain, "1", {}, {}, [nan]) != node_key(Plain, "1", {}, {}, [nan])
    assert node_key(Plain, "1", {}, {}, "NaN") == node_key(Plain, "2", {}, {}, "NaN")
