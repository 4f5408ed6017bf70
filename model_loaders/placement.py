"""Where the weights of a transformer lie while it runs, and how it is called."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Placement:
    """resident_blocks: that stay on the device, the others come one after the other; None: all, nothing is streamed.

    slots: blocks that have room on the device beside the resident ones. pinned: blocks that come from the host's memory
    are copied there once; False: each is read from its file every time.
    passes_at_once: guidance passes in one batch; None: as many as fit. feed_forward_chunk: tokens at a time; None: what
    suits the device. keep_text: the text's keys and values, where they stay the same from step to step (generation 2).
    """

    resident_blocks: int | None = None
    slots: int = 2
    pinned: bool = False
    passes_at_once: int | None = None
    feed_forward_chunk: int | None = None
    keep_text: bool = True
