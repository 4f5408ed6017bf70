"""Stages of a workflow: nodes that stand on a canvas of their own, behind one block of the canvas above.

The graph of an API file is flat. As ComfyUI's front end names them, node `30:7` is node 7 of the stage that block 30
stands for; `_meta.stage` is the stage's name, with ` / ` between a stage and one inside it. A stage's block has the
widgets of `_meta.expose` and, of those that are no option, of `_meta.show` (a list of inputs).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from .inputs import Link, link_of
from .schema import Registry, schema_of
from .ui_blocks import Block, Output, Socket, block_of, height_of
from .ui_layout import stage_of
from .validate import Prompt, title_of

BORDER = -10, -20  # ids of a stage's own input and output on its canvas
BETWEEN = " / "


@dataclass(frozen=True, kw_only=True)
class Wire:
    """A link on one canvas. origin and target: block ids, or None for the stage's own border."""

    origin: str | None
    output: int
    target: str | None
    input: int
    io_type: str


@dataclass(frozen=True, kw_only=True)
class Canvas:
    """path: id of the block that stands for it, empty for the whole workflow. stages: canvases by their blocks' ids.

    inputs and outputs: what the block has, each with where it comes from in the flat graph.
    """

    path: str
    name: str
    blocks: Mapping[str, Block]
    stages: Mapping[str, Canvas]
    inputs: tuple[Socket, ...]
    outputs: tuple[tuple[Output, Link], ...]
    wires: tuple[Wire, ...]

    @property
    def widgets(self) -> list[tuple[str, str]]:
        """The block inside and the name of each widget that the stage's own block has."""
        entries = [wire for wire in self.wires if wire.origin is None and wire.target is not None]
        firsts = {wire.output: wire for wire in reversed(entries)}
        return [
            (wire.target or "", self.blocks[wire.target or ""].sockets[wire.input].name)
            for place, wire in sorted(firsts.items())
            if self.inputs[place].widget
        ]

    def everything(self) -> Iterator[Canvas]:
        """The stages on it and inside of them."""
        for stage in self.stages.values():
            yield stage
            yield from stage.everything()


def canvas_of(prompt: Prompt, registry: Registry, path: str = "") -> Canvas:
    """The canvas of the whole workflow, or of the stage at `path`. Raises ValueError where ids and names disagree."""
    stages: dict[str, Canvas] = {}
    blocks: dict[str, Block] = {}
    for node_id, entry in prompt.items():
        own = _on(path, node_id)
        if own == node_id:
            blocks[own] = block_of(own, entry, registry, _shown(entry) if path else ())
        elif own is not None and own not in blocks:
            stages[own] = canvas_of(prompt, registry, own)
            blocks[own] = _standing_for(stages[own], prompt, registry)
    inputs = _inputs(path, blocks, prompt, registry) if path else {}
    outputs = _outputs(path, prompt, registry) if path else []
    return Canvas(
        path=path,
        name=_name(path, prompt),
        blocks=blocks,
        stages=stages,
        inputs=tuple(inputs.values()),
        outputs=tuple(outputs),
        wires=tuple(_wires(path, blocks, stages, inputs, [link for _, link in outputs])),
    )


def _on(path: str, node_id: str) -> str | None:
    """The block on the canvas of `path` that is, or stands for, a node; None for a node of other canvases."""
    if path and not node_id.startswith(f"{path}:"):
        return None
    return ":".join(node_id.split(":")[: path.count(":") + 2 if path else 1])


def _shown(entry: Mapping[str, Any]) -> list[str]:
    meta = entry.get("_meta") or {}
    return [*meta.get("expose", {}).values(), *meta.get("show", ())]


def _name(path: str, prompt: Prompt) -> str:
    """Of a stage, as all nodes in it call it."""
    depth = path.count(":")
    called = [
        str((entry.get("_meta") or {}).get("stage", "")).split(BETWEEN) for entry in _inside(path, prompt).values()
    ]
    found = {names[depth] if depth < len(names) else "" for names in called} if path else {""}
    if len(found) != 1 or (path and found == {""}):
        raise ValueError(f"stage {path}: expected one name in _meta.stage of all its nodes, found {sorted(found)}")
    return found.pop()


def _inside(path: str, prompt: Prompt) -> dict[str, Mapping[str, Any]]:
    return {node_id: entry for node_id, entry in prompt.items() if _on(path, node_id) is not None}


def _standing_for(stage: Canvas, prompt: Prompt, registry: Registry) -> Block:
    categories = [schema_of(registry[entry["class_type"]]).category for entry in _inside(stage.path, prompt).values()]
    return Block(
        id=stage.path,
        type="",  # the id of its definition, which the file makes
        title=stage.name,
        category=max(categories, key=stage_of),
        sockets=stage.inputs,
        outputs=tuple(output for output, _ in stage.outputs),
        values=(),
        properties={"proxyWidgets": [[inner.split(":")[-1], name] for inner, name in stage.widgets]},
        height=height_of(stage.inputs, len(stage.outputs)),
    )


Key = tuple[str, int | str]  # what a stage takes: an output of a node outside, or a widget of a block inside


def _key(path: str, block: Block, socket: Socket) -> Key | None:
    """What a socket takes from outside of its stage."""
    if socket.source is not None:
        outside = _on(path, socket.source.node_id) is None
        return (socket.source.node_id, socket.source.index) if outside else None
    return (block.id, socket.name) if socket.shown else None


def _inputs(path: str, blocks: Mapping[str, Block], prompt: Prompt, registry: Registry) -> dict[Key, Socket]:
    """What a stage takes, links first; of the same name each with a label that says whose it is."""
    found: dict[Key, Socket] = {}
    for block in blocks.values():
        for socket in block.sockets:
            key = _key(path, block, socket)
            if key is not None and key not in found:
                label = _label(path, block, socket, prompt, registry)
                found[key] = replace(socket, io_type=_type(socket, prompt, registry), label=label)
    often, named = Counter(socket.name for socket in found.values()), Counter[str]()
    for key, socket in found.items():
        named[socket.name] += 1
        alone = often[socket.name] == 1
        number = "" if alone else f"_{named[socket.name]}"
        found[key] = replace(socket, name=f"{socket.name}{number}", label=None if alone else socket.label)
    return dict(sorted(found.items(), key=lambda row: row[1].source is None))


def _label(path: str, block: Block, socket: Socket, prompt: Prompt, registry: Registry) -> str:
    """Whose output or widget it is."""
    if socket.source is None:
        whose, what = block.title or block.type, socket.label or socket.name
    else:
        entry = prompt[socket.source.node_id]
        whose, what = title_of(entry) or entry["class_type"], _output(socket.source, prompt, registry).name.lower()
    return f"{whose.removesuffix(f', {_name(path, prompt)}')}: {what}"


def _type(socket: Socket, prompt: Prompt, registry: Registry) -> str:
    return socket.io_type if socket.source is None else _output(socket.source, prompt, registry).io_type


def _output(link: Link, prompt: Prompt, registry: Registry) -> Output:
    given = schema_of(registry[prompt[link.node_id]["class_type"]]).outputs[link.index]
    return Output(name=given.display_name or given.id or given.io_type, io_type=given.io_type)


def _outputs(path: str, prompt: Prompt, registry: Registry) -> list[tuple[Output, Link]]:
    """What nodes outside take from the stage; of the same name each with its node's title."""
    taken = {
        link: None
        for node_id, entry in prompt.items()
        for link in map(_link, entry["inputs"].values())
        if link is not None and _on(path, link.node_id) is not None and _on(path, node_id) is None
    }
    order = list(prompt)
    links = sorted(taken, key=lambda link: (order.index(link.node_id), link.index))
    found = [_output(link, prompt, registry) for link in links]
    often = Counter(output.name for output in found)
    return [
        (
            replace(output, name=f"{title_of(prompt[link.node_id])}: {output.name}")
            if often[output.name] > 1
            else output,
            link,
        )
        for output, link in zip(found, links, strict=True)
    ]


def _link(value: Any) -> Link | None:
    return link_of(value) if isinstance(value, list) else None


def _wires(
    path: str,
    blocks: Mapping[str, Block],
    stages: Mapping[str, Canvas],
    inputs: Mapping[Key, Socket],
    outputs: list[Link],
) -> Iterator[Wire]:
    def origin(link: Link) -> tuple[str, int, str]:
        own = _on(path, link.node_id)
        assert own is not None
        index = [given for _, given in stages[own].outputs].index(link) if own in stages else link.index
        return own, index, blocks[own].outputs[index].io_type

    order = list(inputs)
    for block in blocks.values():
        for place, socket in enumerate(block.sockets):
            key = _key(path, block, socket) if path else None
            if key is not None:
                io_type = inputs[key].io_type
                yield Wire(origin=None, output=order.index(key), target=block.id, input=place, io_type=io_type)
            elif socket.source is not None:
                own, index, io_type = origin(socket.source)
                yield Wire(origin=own, output=index, target=block.id, input=place, io_type=io_type)
    for place, link in enumerate(outputs):
        own, index, io_type = origin(link)
        yield Wire(origin=own, output=index, target=None, input=place, io_type=io_type)
