"""Which nodes of a graph work on an LTX-2 model: nodes of another model in the same file are left alone."""

from __future__ import annotations

import re

from .graph import Graph, Node, consumers, in_order
from .table import rows

LOADERS = ("checkpoint", "transformer", "text_encoder", "vae", "audio_vae")
OTHER_LTX = re.compile(r"ltx-?video|ltxv.?\d|ltx-?v-|(^|[^0-9])0\.9")
PICTURES = {
    "VAEDecode", "VAEDecodeTiled", "LTXVAudioVAEDecode", "VAEDecodeAudio",
    "TextGenerateLTX2Prompt", "LTXVGemmaEnhancePrompt", "LTXVPromptEnhancer",
}  # fmt: skip
"""Their results belong to no model any more."""


Takers = dict[str, list[tuple[str, str, int]]]


def foreign_nodes(graph: Graph) -> set[str]:
    """Ids of the nodes of other models: their loaders, what takes from these, and what only serves them."""
    loaders = [node for node in graph.values() if _is_loader(node)]
    if not any(_is_ltx(node) for node in loaders):
        others = {node.id for node in loaders if OTHER_LTX.search(_file(node))}
    else:
        others = {node.id for node in loaders if not _is_ltx(node)}
    takers = consumers(graph)
    others = {node_id for node_id in others if not _serves_ltx(graph, takers, node_id)}
    front = list(others)
    others |= {node.id for node in graph.values() if node.type in rows() and rows()[node.type].foreign}
    while front:
        node_id = front.pop()
        if graph[node_id].type in PICTURES:
            continue
        for taker, _, _ in takers[node_id]:
            if taker not in others and _takes_part(graph[taker]):
                others.add(taker)
                front.append(taker)
    return others | _helpers(graph, others)


def _is_loader(node: Node) -> bool:
    row = rows().get(node.type)
    return row is not None and row.rule in LOADERS


def _file(node: Node) -> str:
    return " ".join(value.lower() for value in node.inputs.values() if isinstance(value, str))


def _is_ltx(node: Node) -> bool:
    """By its file: LTX-2 and later; a text encoder also by its kind."""
    text = _file(node)
    row = rows()[node.type]
    if row.rule == "text_encoder":
        return "t5" not in text
    return "ltx" in text and not OTHER_LTX.search(text)


def _serves_ltx(graph: Graph, takers: Takers, node_id: str) -> bool:
    """A loader whose file has another name, but that feeds nodes which exist for LTX alone."""
    direct = [graph[taker].type for taker, _, _ in takers[node_id]]
    return any("LTX" in name for name in direct) and not OTHER_LTX.search(_file(graph[node_id]))


def _takes_part(node: Node) -> bool:
    """Nodes that the table would turn into ours, or say something about."""
    row = rows().get(node.type)
    return row is None or bool(row.lost) or not (row.keep or row.fold)


def _helpers(graph: Graph, others: set[str]) -> set[str]:
    """What serves the other models only: texts and their encoders, empty latents, noise, step rules, schedules."""
    takers = consumers(graph)
    found: set[str] = set()
    for node in reversed(in_order(graph)[0]):
        direct = {taker for taker, _, _ in takers[node.id]}
        if direct and direct <= others | found and _takes_part(node) and node.type not in PICTURES:
            found.add(node.id)
    return found
