"""A clip that passes through a network in pieces, exactly: what layers remember between two pieces.

Every layer is called as `layer(x, stream, last)`: x (B, C, F, H, W) holds the next frames of the clip, `stream` what
the layers remember of its earlier frames, `last` says that no frames follow. A layer may hold frames back (a
convolution that looks one frame ahead does), so the result has any number of frames, also none; with `last` it
gives out all that it still holds. A whole clip as one piece is the untiled forward (spec page video_vae, section 8).
"""

# B batch, C channels, F frames, H height, W width
from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

Draw = Callable[[Sequence[int]], Tensor]  # shape → standard normal numbers
Piece = tuple[Tensor, bool]  # frames and `last`


def seeded_draw(seed: int = 0) -> Draw:
    """Float32 numbers from one CPU generator, the same on every device."""
    generator = torch.Generator().manual_seed(seed)
    return lambda shape: torch.randn(tuple(shape), generator=generator, device="cpu")


@dataclass(kw_only=True)
class Stream:
    """One clip on its way through one network."""

    draw: Draw = field(default_factory=seeded_draw)
    timestep: Tensor | None = None  # () float32, scaled; of timestep conditioned decoders
    _kept: dict[Hashable, Tensor] = field(default_factory=dict)
    _met: set[Hashable] = field(default_factory=set)

    def first(self, key: Hashable) -> bool:
        """Whether this is the first question about `key`."""
        if key in self._met:
            return False
        self._met.add(key)
        return True

    def keep(self, key: Hashable, frames: Tensor) -> None:
        """Remember a copy: a view would hold the whole piece that it was cut from."""
        if frames.shape[2]:
            self._kept[key] = frames.clone()

    def take(self, key: Hashable) -> Tensor | None:
        return self._kept.pop(key, None)

    def once(self, key: Hashable, make: Callable[[], Tensor]) -> Tensor:
        """What `make` gave when it was first needed for this clip."""
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    def joined(self, key: Hashable, x: Tensor) -> Tensor:
        """The frames kept under `key`, then x."""
        kept = self.take(key)
        return x if kept is None else torch.cat([kept, x], dim=2)

    def oldest(self, key: Hashable, x: Tensor, count: int) -> list[Tensor]:
        """Add x to the queue `key` and take its `count` oldest frames, as one or two views in their order."""
        kept = self.take(key)
        if kept is None:
            self.keep(key, x[:, :, count:])
            return [x[:, :, :count]]
        old = min(count, kept.shape[2])
        rest = torch.cat([kept[:, :, old:], x[:, :, count - old :]], dim=2)
        if rest.shape[2]:
            self._kept[key] = rest
        return [kept[:, :, :old], x[:, :, : count - old]]


Layer = Callable[[Tensor, Stream, bool], Tensor]


class Stage(NamedTuple):
    """A layer, and how many elements it makes of one (1 where it makes fewer)."""

    run: Layer
    growth: float = 1.0


def push(
    stages: Sequence[Stage], x: Tensor, last: bool, stream: Stream, limit: int | None, *, rejoin: bool = False
) -> Iterator[Tensor]:
    """Send one piece through all stages; yields what comes out at the end: no, one or several pieces.

    limit: the largest feature map (elements) to be made, up to the frames that a layer held back, and unless one
    frame is larger; longer pieces are cut again before the stage that would exceed it (None: never). Frames that were
    held back come out all together at the end of a clip, and later stages of a decoder make many more elements a
    frame, so cutting the input is not enough.
    rejoin: join the parts as soon as the limit allows it. For encoders, whose late stages have small maps and large
    weights: those cost the same for one frame as for many.
    """
    pieces: Iterator[Piece] = iter([(x, last)])
    del x
    for stage in stages:
        pieces = _through(stage, pieces if limit is None else _sized(stage, pieces, limit, rejoin), stream)
    for made, _ in pieces:
        yield made


def _through(stage: Stage, pieces: Iterable[Piece], stream: Stream) -> Iterator[Piece]:
    for x, last in pieces:
        made = [stage.run(x, stream, last)]
        del x  # and nothing but the next stage holds what was made while that one works
        if made[0].shape[2]:
            yield made.pop(), last
        else:
            assert not last, "a layer must give out what it holds at the end of the clip"


def _sized(stage: Stage, pieces: Iterable[Piece], limit: int, rejoin: bool) -> Iterator[Piece]:
    """The same frames in pieces of at most as many as the limit allows; with `rejoin`, of as many as it allows."""
    waiting: list[Tensor] = []
    for x, last in pieces:
        step = max(1, int(limit / (x[:, :, 0].numel() * stage.growth)))
        if waiting and waiting[0].shape[2] + x.shape[2] > step:
            yield waiting.pop(), False
        waiting = [torch.cat([*waiting, x], dim=2) if waiting else x]
        del x
        if waiting[0].shape[2] > step:
            yield from _shared_out(waiting, step, last)
        elif last or not rejoin:
            yield waiting.pop(), last
    if waiting:
        yield waiting.pop(), False


def _shared_out(waiting: list[Tensor], step: int, last: bool) -> Iterator[Piece]:
    """The one clip that waits in pieces of `step` frames. What is left waits as a copy: a view would hold it all."""
    while waiting[0].shape[2] > step:
        clip = waiting.pop()
        waiting.append(clip[:, :, step:].clone())
        piece = [clip[:, :, :step].clone()]
        del clip
        yield piece.pop(), False
    yield waiting.pop(), last


def cut(clip: Tensor, first: int, step: int, last: bool = True) -> Iterator[Piece]:
    """A clip as pieces of `first`, then `step` frames (views); the final one is marked `last` if `last` is."""
    frames, start, end = clip.shape[2], 0, first
    while start < frames:
        yield clip[:, :, start:end], last and end >= frames
        start, end = end, end + step


def latest(parts: Sequence[Tensor], count: int) -> Tensor:
    """The last `count` frames of parts that follow each other, or all where there are fewer."""
    missing = max(0, count - parts[-1].shape[2])
    earlier = [part[:, :, max(0, part.shape[2] - missing) :] for part in parts[:-1] if missing]
    ends = [*earlier, parts[-1][:, :, max(0, parts[-1].shape[2] - count) :]]
    return ends[0] if len(ends) == 1 else torch.cat(ends, dim=2)


def join(pieces: Iterable[Tensor], out: Tensor) -> Tensor:
    """Copy pieces one behind the other into `out` (B, C, F, H, W), which they must fill exactly."""
    start = 0
    for piece in pieces:
        out[:, :, start : start + piece.shape[2]] = piece
        start += piece.shape[2]
    assert start == out.shape[2], f"{start} frames came out instead of {out.shape[2]}"
    return out
