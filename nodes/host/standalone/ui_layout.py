"""Where nodes stand in a UI file: groups from left to right, a stage of the pipeline each, columns by depth in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .ui_blocks import Block

COLUMN, MARGIN, WIDTH, GAP = 400, 60, 320, 60  # pixels
PAD, TITLE = 30, 90  # of a group around its nodes; above them its own title and the node's
COLOUR, FONT = "#3f789e", 24
STAGES = ("Load", "Pictures and sound", "Text and conditions", "Sample", "Decode", "Save")
STAGE_OF = {
    "OpenLTX/loaders": 0,
    "OpenLTX/encode": 1,
    "OpenLTX/conditioning": 2,
    "OpenLTX/latent": 2,
    "OpenLTX/sampling": 3,
    "OpenLTX/training": 3,
    "OpenLTX/decode": 4,
    "OpenLTX/save": 5,
}
GIVEN = 1  # what has no stage of its own stands with what it is made from, or with what is given
FOLLOWS = "OpenLTX/latent"  # begins in its own stage, and later stands with what it is made from: an upscaled latent


@dataclass(frozen=True, kw_only=True)
class Layout:
    """places: upper left corner by node id. groups: in the file's own form."""

    places: dict[str, tuple[int, int]]
    groups: list[dict[str, Any]]


Before = Mapping[str, Sequence[str]]
Key = tuple[int, int]  # round and stage: a second sampling after a decoding begins the second round


def stage_of(category: str) -> int:
    """Which stage of the pipeline nodes of a category are; -1 for those that go with what they are made from."""
    return STAGE_OF.get(category, -1)


def layout(blocks: Mapping[str, Block], before: Before, *, left: int = MARGIN) -> Layout:
    """before: the blocks that each one takes from. The graph has no circles."""
    groups = _groups(blocks, before)
    places: dict[str, tuple[int, int]] = {}
    found, titles = [], Counter[str]()
    for number, key in enumerate(sorted(groups), start=1):
        depths, filled, title = groups[key], Counter[int](), STAGES[key[1]]
        titles[title] += 1
        for block_id, block in blocks.items():
            if block_id in depths:
                column = depths[block_id]
                places[block_id] = left + COLUMN * column, MARGIN + filled[column]
                filled[column] += block.height + GAP
        width = COLUMN * max(depths.values()) + WIDTH
        box = [left - PAD, MARGIN - TITLE, width + 2 * PAD, max(filled.values()) - GAP + TITLE + PAD]
        found.append(
            {
                "id": number,
                "title": _numbered(title, titles[title]),
                "bounding": box,
                "color": COLOUR,
                "font_size": FONT,
            }
        )
        left += width + 2 * PAD + GAP
    return Layout(places=places, groups=found)


def columns(blocks: Mapping[str, Block], before: Before) -> dict[str, tuple[int, int]]:
    """Places of the blocks inside a stage: columns by depth, no groups."""
    depths: dict[str, int] = {}

    def depth_of(block_id: str) -> int:
        if block_id not in depths:
            depths[block_id] = 1 + max((depth_of(source) for source in before[block_id]), default=-1)
        return depths[block_id]

    filled, places = Counter[int](), {}
    for block_id, block in blocks.items():
        column = depth_of(block_id)
        places[block_id] = MARGIN + COLUMN * column, MARGIN + filled[column]
        filled[column] += block.height + GAP
    return places


def _groups(blocks: Mapping[str, Block], before: Before) -> dict[Key, dict[str, int]]:
    """Columns of the blocks of each group."""
    keys: dict[str, Key] = {}
    groups: dict[Key, dict[str, int]] = {}

    def key_of(block_id: str) -> Key:
        if block_id not in keys:
            sources = before[block_id]
            keys[block_id] = key = _key(blocks[block_id].category, [key_of(source) for source in sources])
            depths = groups.setdefault(key, {})
            depths[block_id] = 1 + max((depths[source] for source in sources if keys[source] == key), default=-1)
        return keys[block_id]

    for block_id in blocks:
        key_of(block_id)
    return groups


def _key(category: str, sources: Sequence[Key]) -> Key:
    stage, latest = STAGE_OF.get(category), max(sources, default=(0, 0))
    if stage is None:
        return latest if sources else (0, GIVEN)
    if category == FOLLOWS and stage < latest[1]:
        return latest
    return latest[0] + (stage < latest[1]), stage


def _numbered(title: str, count: int) -> str:
    return title if count == 1 else f"{title} ({count})"
