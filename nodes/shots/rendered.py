"""A rendered film on the wires: its plan, and where its pieces lie in the store; no numbers are held in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...media.av_reader import iterate_frames
from ...media.av_writer import Encoding, write_av
from ...model_loaders.parts import VideoPart
from ...samplers.shapes import pixel_frames
from ...samplers.streams import Streams
from ...shots.assembly import NEAR, Piece, Span, Stretch, part, spans, stretches
from ...shots.film import Film
from ...shots.keys import key_of
from ...shots.store import Store
from ...shots.timeline import Take, Timeline
from ..frames import decoded_frames
from ..host.api import check_interrupted, io
from ..made import Steps
from .identity import part_identity
from .kept import latents_of, load_latents

FilmType = io.Custom("OPENLTX_FILM")
FRAMES, LOSSLESS = "frames.mkv", "ffv1"


@dataclass(frozen=True, kw_only=True, eq=False)
class Rendered:
    """keys: of all pieces."""

    film: Film
    timeline: Timeline
    keys: Mapping[Piece, str]
    store: Store
    generation: str | None

    def latents(self, piece: Piece) -> Streams[Tensor]:
        """Of a piece. ValueError where it has been removed from the store."""
        return load_latents(latents_of(self.store, self.keys[piece]))

    def steps(self, piece: Piece) -> Steps:
        """How a piece was made."""
        return tuple((self.store.told(self.keys[piece]) or {}).get("steps", ()))

    def piece(self, shot: str) -> Piece:
        """The take of a shot, by name. ValueError for a name that no shot has."""
        names = [known.name for known in self.film.shots]
        if shot not in names:
            raise ValueError(f"shot: expected one of {', '.join(names)}, found {shot!r}; choose one of them")
        return Piece(names.index(shot))

    def video(self, spans: list[Span]) -> Tensor:
        """The latent (1, C, F, H, W) of some spans."""
        found = []
        for span in spans:
            video = self.latents(span.piece).video
            assert video is not None
            found.append(video[:, :, span.first : span.end])
        return torch.cat(found, dim=2)

    def frames(self, video_vae: VideoPart) -> Iterator[Tensor]:
        """The film's frames (1, H, W, 3) in 0 … 1, in steps of 1/255: each stretch is decoded once, then kept."""
        for scene in sorted({take.scene for take in self.timeline.takes}):
            for stretch in stretches(self.timeline, scene):
                check_interrupted()
                for frame in self._kept(stretch, video_vae):
                    yield frame[None].float() / 255

    def pictures(self, number: int, video_vae: VideoPart) -> Iterator[Tensor]:
        """Frames (H, W, 3) in 0 … 255 of a take, if they have been decoded."""
        folder = self.store.found(self._take_key(number, video_vae))
        if folder is not None:
            yield from (frame for _, frame in iterate_frames(folder / FRAMES))

    def _kept(self, stretch: Stretch, video_vae: VideoPart) -> Iterator[Tensor]:
        take = self.timeline.takes[stretch.take]
        if stretch.border:
            around, before = self._around(stretch, take)
            key = key_of("frames", spans=self._shape(around), skipped=before, **_means(video_vae))
            first, count = before, stretch.end - stretch.first
        else:
            around, before = [Span(piece=Piece(stretch.take), first=0, end=take.whole)], 0
            key = self._take_key(stretch.take, video_vae)
            first, count = 0, take.whole
        folder = self.store.found(key)
        if folder is None:
            told = {"kind": "frames", "film": self.film.title, "shot": take.shot.name}
            span = _pixels(first, count)
            folder = self.store.put(key, told, lambda place: self._decode(around, video_vae, span, place / FRAMES))
        wanted = range(10**9) if stretch.border else _own_pixels(stretch, take)
        for number, (_, frame) in enumerate(iterate_frames(folder / FRAMES)):
            if number in wanted:
                yield frame

    def _take_key(self, number: int, video_vae: VideoPart) -> str:
        """Of all that shapes a take's frames."""
        return key_of("frames", take=self.keys[Piece(number)], **_means(video_vae))

    def _around(self, stretch: Stretch, take: Take) -> tuple[list[Span], int]:
        """The spans of a border and beside it, and how many latent frames stand before its own."""
        first = max(stretch.first - NEAR, 0)
        return part(spans(self.timeline, take.scene), first, stretch.end + NEAR), stretch.first - first

    def _shape(self, spans: list[Span]) -> list[object]:
        return [[self.keys[span.piece], span.first, span.end] for span in spans]

    def _decode(self, spans: list[Span], video_vae: VideoPart, wanted: range, path: Path) -> None:
        frames = decoded_frames(video_vae.decoder, self.video(spans))
        own = _between(frames, wanted.start, wanted.stop)
        write_av(path, own, frame_rate=self.film.fps, encoding=Encoding(video=LOSSLESS))


def _means(video_vae: VideoPart) -> dict[str, Any]:
    return {"vae": part_identity(video_vae), "dtype": str(video_vae.decoder.dtype)}


def _pixels(first: int, count: int) -> range:
    """The pixel frames of latent frames [first, first + count)."""
    return range(pixel_frames(first) if first else 0, pixel_frames(first + count))


def _own_pixels(stretch: Stretch, take: Take) -> range:
    """Of a stretch of a take, in the take's own pixel frames."""
    return _pixels(stretch.first - take.first + take.lead, stretch.end - stretch.first)


def _between(chunks: Iterator[Tensor], first: int, end: int) -> Iterator[Tensor]:
    """Frames [first, end) of chunks."""
    met = 0
    for chunk in chunks:
        wanted = chunk[max(first - met, 0) : max(end - met, 0)]
        met += len(chunk)
        if len(wanted):
            yield wanted
        if met >= end:
            return
