"""The graphs of adopt_graphs.py as UI files of several ages, with everything that front ends put into them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from openltx.adopt.table import rows
from openltx.tests import adopt_graphs as graphs

SEEDS, UPLOADS = ("seed", "noise_seed"), ("LoadImage", "LoadVideo", "LoadAudio")
Ui = dict[str, Any]


def outputs_of(kind: str) -> list[str]:
    fixed = graphs.OUTPUTS.get(kind)
    if fixed is not None:
        return list(fixed.split())
    return {"ImageScale": ["IMAGE"], "ImageFromBatch": ["IMAGE"], "LoadImageMask": ["MASK"]}[kind]


class Canvas:
    """Nodes and links of one canvas, numbered as they come."""

    def __init__(self, first: int = 1) -> None:
        self.nodes: list[Ui] = []
        self.links: list[Any] = []
        self.next_node, self.next_link = first, 1

    def node(self, kind: str, outputs: list[str], **more: Any) -> Ui:
        made: Ui = {
            "id": self.next_node,
            "type": kind,
            "pos": [0, 0],
            "size": [210, 100],
            "flags": {},
            "order": self.next_node,
            "mode": 0,
            "inputs": [],
            "outputs": [{"name": name, "type": name, "links": []} for name in outputs],
            "properties": {},
            **more,
        }
        self.next_node += 1
        self.nodes.append(made)
        return made

    def link(self, source: Ui, slot: int, target: Ui, name: str, *, widget: bool = False) -> int:
        kind = source["outputs"][slot]["type"]
        number = self.next_link
        self.next_link += 1
        socket = next((one for one in target["inputs"] if one["name"] == name), None)
        if socket is None:
            socket = {"name": name, "type": kind}
            target["inputs"].append(socket)
        socket["link"] = number
        if widget:
            socket["widget"] = {"name": name}
        place = target["inputs"].index(socket)
        source["outputs"][slot]["links"].append(number)
        self.links.append([number, source["id"], slot, target["id"], place, kind])
        return number

    def file(self, **more: Any) -> Ui:
        ids = [node["id"] for node in self.nodes]
        return {
            "last_node_id": max(ids),
            "last_link_id": self.next_link,
            "nodes": self.nodes,
            "links": self.links,
            "groups": [],
            "config": {},
            "extra": {},
            "version": 0.4,
            **more,
        }


def widget_names(kind: str, inputs: dict[str, Any]) -> list[str]:
    """In the order of the form; linked ones keep their place."""
    row = rows().get(kind)
    names = [] if row is None else [one for one in row.widgets if isinstance(one, str)]
    rest = [name for name, value in inputs.items() if not isinstance(value, tuple) and name not in names]
    return [*names, *rest]


def filled(canvas: Canvas, graph: Any, *, sockets: bool, named: bool = False) -> dict[str, Ui]:
    """All nodes with their widget values; no links yet."""
    made = {}
    for node_id, (kind, inputs) in graph.items():
        values: list[Any] = []
        names: dict[str, Any] = {}
        node = canvas.node(kind, outputs_of(kind))
        for name in widget_names(kind, inputs):
            value = inputs.get(name)
            if name not in inputs and not any(later in inputs for later in _after(kind, inputs, name)):
                continue
            values.append(1 if isinstance(value, tuple) else value)
            names[name] = values[-1]
            if sockets:
                node["inputs"].append({"name": name, "type": "*", "widget": {"name": name}, "link": None})
            if name in SEEDS:
                values.append("randomize")
        if kind in UPLOADS:
            values.append("image")
        node["widgets_values"] = dict(names) if kind.startswith("VHS_") else values
        if named:
            node["widgets_values_named"] = names
        made[node_id] = node
    return made


def _after(kind: str, inputs: dict[str, Any], name: str) -> list[str]:
    names = widget_names(kind, inputs)
    return names[names.index(name) + 1 :]


def wired(
    canvas: Canvas, graph: Any, made: dict[str, Ui], pick: Callable[[str, int], tuple[Ui, int]] | None = None
) -> None:
    for node_id, (kind, inputs) in graph.items():
        row = rows().get(kind)
        widgets = [] if row is None else row.widgets
        for name, value in inputs.items():
            if isinstance(value, tuple):
                source, slot = (made[value[0]], value[1]) if pick is None else pick(*value)
                canvas.link(source, slot, made[node_id], name, widget=name in widgets)


def old(graph: Any) -> Ui:
    """Values by position, no names: front ends before 1.16."""
    canvas = Canvas()
    wired(canvas, graph, filled(canvas, graph, sockets=False))
    return canvas.file()


def new(graph: Any) -> Ui:
    """Widgets among the inputs, values by name too."""
    canvas = Canvas()
    wired(canvas, graph, filled(canvas, graph, sockets=True, named=True))
    return canvas.file(definitions={"subgraphs": []})


def objects(graph: Any) -> Ui:
    """Version 1.0: links as objects."""
    canvas = Canvas()
    wired(canvas, graph, filled(canvas, graph, sockets=True))
    keys = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
    return {**canvas.file(), "version": 1, "links": [dict(zip(keys, row, strict=True)) for row in canvas.links]}


def reroutes(graph: Any) -> Ui:
    """A reroute, of another reroute, in every link; notes; get and set nodes for latents."""
    canvas = Canvas()
    made = filled(canvas, graph, sockets=False)
    canvas.node("MarkdownNote", [], widgets_values=["read me"])
    places: dict[tuple[str, int], Ui] = {}
    for node_id, slot in {
        value for _, inputs in graph.values() for value in inputs.values() if isinstance(value, tuple)
    }:
        kind = made[node_id]["outputs"][slot]["type"]
        name = f"{node_id}.{slot}"
        if kind == "LATENT":
            setter = canvas.node("SetNode", [kind], widgets_values=[name])
            canvas.link(made[node_id], slot, setter, kind)
            places[node_id, slot] = canvas.node("GetNode", [kind], widgets_values=[name])
        else:
            first, second = (canvas.node("Reroute", [kind], inputs=[{"name": "", "type": "*"}]) for _ in range(2))
            canvas.link(made[node_id], slot, first, "")
            canvas.link(first, 0, second, "")
            places[node_id, slot] = second
    wired(canvas, graph, made, lambda node_id, slot: (places[node_id, slot], 0))
    return canvas.file()


def primitives(graph: Any) -> Ui:
    """Numbers from primitive nodes; a bypassed LoRA in front of the sampler's model; a muted saver."""
    canvas = Canvas()
    made = filled(canvas, graph, sockets=False)
    bypassed: dict[tuple[str, int], Ui] = {}
    for node_id, (kind, _) in graph.items():
        if "MODEL" in outputs_of(kind)[:1]:
            lora = canvas.node("LoraLoaderModelOnly", ["MODEL"], mode=4, widgets_values=["off.safetensors", 1.0])
            canvas.link(made[node_id], 0, lora, "model")
            bypassed[node_id, 0] = lora
    wired(
        canvas,
        graph,
        made,
        lambda node_id, slot: (bypassed[node_id, slot], 0) if (node_id, slot) in bypassed else (made[node_id], slot),
    )
    for node_id, (kind, inputs) in graph.items():
        for name in ("noise_seed", "seed", "width", "cfg"):
            if isinstance(inputs.get(name), (int, float)) and rows()[kind].pack != "kjnodes":
                primitive = canvas.node("PrimitiveNode", ["*"], widgets_values=[inputs[name], "fixed"])
                canvas.link(primitive, 0, made[node_id], name, widget=True)
    canvas.node("SaveImage", [], mode=2, widgets_values=["off"])
    return canvas.file()


def nested(graph: Any) -> Ui:
    """Everything but savers inside a subgraph inside a subgraph, the seed and the prompt as its widgets."""
    inside = {
        node_id: entry for node_id, entry in graph.items() if outputs_of(entry[0]) and entry[0] != "VHS_VideoCombine"
    }
    canvas = Canvas()
    made = filled(canvas, inside, sockets=True)
    wired(canvas, inside, made)
    keys = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
    links = [dict(zip(keys, row, strict=True)) for row in canvas.links]
    promoted = [
        (node_id, name)
        for node_id, (_, inputs) in inside.items()
        for name in ("noise_seed", "text")
        if isinstance(inputs.get(name), (int, str))
    ]
    inputs = []
    for index, (node_id, name) in enumerate(promoted):
        number = canvas.next_link
        canvas.next_link += 1
        socket = next(one for one in made[node_id]["inputs"] if one["name"] == name)
        socket["link"] = number
        slot = made[node_id]["inputs"].index(socket)
        links.append(dict(zip(keys, (number, -10, index, made[node_id]["id"], slot, "*"), strict=True)))
        inputs.append({"id": f"in{index}", "name": f"{name}_{index}", "type": "*", "linkIds": [number]})
        values = made[node_id]["widgets_values"]
        values[values.index(inside[node_id][1][name])] = 0 if name == "noise_seed" else "not this one"
    leaving = [
        value
        for node_id, (_, given) in graph.items()
        if node_id not in inside
        for value in given.values()
        if isinstance(value, tuple)
    ]
    for index, (node_id, slot) in enumerate(leaving):
        links.append(
            dict(zip(keys, (canvas.next_link + index, made[node_id]["id"], slot, -20, index, "*"), strict=True))
        )
    outputs = [{"id": f"out{index}", "name": f"out{index}", "type": "*"} for index in range(len(leaving))]
    inner: Ui = {
        "id": "inner",
        "name": "inner",
        "nodes": canvas.nodes,
        "links": links,
        "inputs": inputs,
        "outputs": outputs,
    }
    outer = _outer(inner, inputs, outputs)
    top = Canvas()
    shown = [inside[node_id][1][name] for node_id, name in promoted]
    sockets = [{"name": one["name"], "type": "*", "widget": {"name": one["name"]}, "link": None} for one in inputs]
    instance = top.node("outer", ["*"] * len(outputs), inputs=sockets, widgets_values=shown)
    rest = {node_id: entry for node_id, entry in graph.items() if node_id not in inside}
    savers = filled(top, rest, sockets=True)
    wired(top, rest, savers, lambda node_id, slot: (instance, leaving.index((node_id, slot))))
    return top.file(definitions={"subgraphs": [outer, inner]})


def _outer(inner: Ui, inputs: list[Ui], outputs: list[Ui]) -> Ui:
    """A subgraph that only hands everything to another one."""
    keys = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
    count = len(inputs)
    sockets = [
        {"name": one["name"], "type": "*", "widget": {"name": one["name"]}, "link": index + 1}
        for index, one in enumerate(inputs)
    ]
    node = {
        "id": 7,
        "type": inner["id"],
        "mode": 0,
        "inputs": sockets,
        "outputs": [{"name": one["name"], "type": "*"} for one in outputs],
    }
    links = [dict(zip(keys, (index + 1, -10, index, 7, index, "*"), strict=True)) for index in range(count)]
    links += [
        dict(zip(keys, (count + index + 1, 7, index, -20, index, "*"), strict=True)) for index in range(len(outputs))
    ]
    declared = [{**one, "linkIds": [index + 1]} for index, one in enumerate(inputs)]
    return {"id": "outer", "name": "outer", "nodes": [node], "links": links, "inputs": declared, "outputs": outputs}


FORMS: dict[str, Callable[[Any], Ui]] = {
    "old": old,
    "new": new,
    "objects": objects,
    "reroutes": reroutes,
    "primitives": primitives,
    "nested": nested,
}
