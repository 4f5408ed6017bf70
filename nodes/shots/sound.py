"""The sound of a film as one track: pieces one after the other, cross-faded, at most two of them in memory."""

# n samples
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ...media.retime import exact_rate
from ...model_loaders.parts import AudioPart
from ...networks.audio_vae import resample, to_stereo
from ...samplers.shapes import pixel_frames
from ...shots.assembly import Heard, sounds
from ...shots.film import Soundtrack
from ..decode import sound_pieces
from ..generations import GENERATION
from ..host.api import compute_device
from .content import sound_of
from .rendered import Rendered

FADE = 0.02  # seconds in which one piece goes over into the next
HELD = 2  # audio latent frames, repeated behind the end of a scene, that its sound fades out in
CHUNK = 25  # latent frames that are decoded at a time
MARGIN = 0.1  # seconds around a part of a file, so that resampling does not show at its ends


@dataclass(kw_only=True, eq=False)
class FilmSound:
    """Samples (2, n) of a film as a function of time, as `write_av` reads them."""

    rendered: Rendered
    audio_vae: AudioPart
    rate: int
    _blocks: Iterator[Tensor] | None = None
    _left: Tensor = field(default_factory=lambda: torch.zeros(2, 0))

    @classmethod
    def of(cls, rendered: Rendered, audio_vae: AudioPart) -> FilmSound:
        """At the rate of the vocoder."""
        vocoder = audio_vae.vocoder.on(compute_device())
        return cls(rendered=rendered, audio_vae=audio_vae, rate=vocoder.output_sampling_rate)

    def __call__(self, first: int, count: int) -> Tensor:
        """In order; fewer than asked for: the end."""
        if self._blocks is None:
            self._blocks = self.blocks()
        while self._left.shape[1] < count and (block := next(self._blocks, None)) is not None:
            self._left = torch.cat([self._left, block], dim=1)
        given, self._left = self._left[:, :count], self._left[:, count:]
        return given

    def blocks(self) -> Iterator[Tensor]:
        """The track, a block a piece."""
        rendered, order = self.rendered, sounds(self.rendered.timeline, exact_rate(self.rendered.film.fps))
        ends = [*(entry.since for entry in order[1:]), rendered.timeline.frames / exact_rate(rendered.film.fps)]
        fade, tail = round(FADE * self.rate), torch.zeros(2, 0)
        for entry, end in zip(order, ends, strict=True):
            first, last, zero = (round(time * self.rate) for time in (entry.since, end, entry.zero))
            wave = _window(self._waveform(entry), first - zero, last - zero + fade)
            own, following = wave[:, : last - first].clone(), wave[:, last - first :]
            count = min(tail.shape[1], own.shape[1])
            weights = torch.linspace(0, 1, count + 2)[1:-1]
            own[:, :count] = torch.lerp(tail[:, :count], own[:, :count], weights)
            tail = following.clone()
            yield self._with_soundtrack(own, first)

    def _waveform(self, entry: Heard) -> Tensor:
        """A piece's own sound (2, n), from its first audio frame on."""
        film, piece = self.rendered.film, entry.piece
        take = self.rendered.timeline.takes[piece.take]
        if take.shot.audio is not None and not piece.seam:
            start = float(entry.zero) - take.start / film.fps
            return self._read(take.shot.audio, start, pixel_frames(take.whole) / film.fps + FADE)
        audio = self.rendered.latents(piece).audio
        if audio is None:
            return torch.zeros(2, 0)
        audio = torch.cat([audio, audio[:, :, -1:].expand(-1, -1, HELD, -1)], dim=2)
        mark = {} if self.rendered.generation is None else {GENERATION: self.rendered.generation}
        pieces, _ = sound_pieces(self.audio_vae, {"samples": audio, **mark}, CHUNK)
        return torch.cat([to_stereo(piece[None])[0] for piece in pieces], dim=-1)

    def _with_soundtrack(self, own: Tensor, first: int) -> Tensor:
        track: Soundtrack | None = self.rendered.film.soundtrack
        if track is None:
            return own
        laid = self._read(track.path, first / self.rate, own.shape[1] / self.rate)
        laid = _window(laid, 0, own.shape[1])
        return laid if track.use == "given" else own + 10 ** (track.gain / 20) * laid

    def _read(self, path: Path, start: float, seconds: float) -> Tensor:
        """A part of a file at the film's rate."""
        sound = sound_of(path, start - MARGIN, seconds + 2 * MARGIN)
        stereo = resample(to_stereo(sound["waveform"]), int(sound["sample_rate"]), self.rate)[0]
        return _window(stereo, round(MARGIN * self.rate), round((MARGIN + seconds) * self.rate))


def _window(waveform: Tensor, first: int, end: int) -> Tensor:
    """Samples [first, end), silent where there are none."""
    inside = waveform[:, max(first, 0) : max(end, 0)]
    before = min(max(-first, 0), end - first)
    return F.pad(inside, (before, end - first - before - inside.shape[1]))
