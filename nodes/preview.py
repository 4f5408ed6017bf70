"""What is shown of a stage while it runs: a picture of each step's prediction, and a way to stop within a block."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from PIL import Image
from torch import Tensor, nn

from ..model_loaders.parts import AUDIO_BINS, AudioPart, DiffusionModel, Part, VideoPart, refuse_mixed
from ..networks.audio_vae.decoder import decode_mel
from ..samplers.preview import (
    LinearMap,
    audio_envelope,
    film_strip,
    fit_envelope,
    fit_preview,
    preview_frames,
    random_latents,
    spread,
)
from ..samplers.steps import StepCallback, StepReport
from ..samplers.streams import Streams
from .host.api import check_interrupted, compute_device, progress

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

FRAMES = 4  # side by side
FITTED_PICTURES, FITTED_CELLS, FITTED_SOUNDS, FITTED_SECONDS = 9, 8, 8, 1
_fitted: WeakKeyDictionary[Any, LinearMap] = WeakKeyDictionary()  # by the decoder that it was fitted to


@dataclass(frozen=True, kw_only=True, eq=False)
class Preview:
    """Matrices from latents to what is shown; a stream without one is not shown."""

    colours: LinearMap | None = None
    loudness: LinearMap | None = None

    def picture(self, latents: Streams[Tensor]) -> Picture | None:
        """A strip of frames (B, C, F, H, W) over the sound's (B, C, T, bins) loudness; None if neither can be shown."""
        frames = envelope = None
        if latents.video is not None and self.colours is not None:
            shown = latents.video[:, :, spread(latents.video.shape[2], FRAMES)]
            frames = preview_frames(shown, self.colours)
        if latents.audio is not None and self.loudness is not None:
            envelope = audio_envelope(latents.audio, self.loudness)
        if frames is None and envelope is None:
            return None
        return Image.fromarray(film_strip(frames, envelope).numpy())


def step_progress(
    steps: int, preview: Preview | None, latents: Callable[[Streams[Tensor]], Streams[Tensor]]
) -> StepCallback:
    """A callback that counts steps on the running node's bar, with a picture of each.

    latents: tokens of a prediction → the latents that they stand for.
    """
    bar = progress(steps)

    def stepped(report: StepReport) -> None:
        picture = None if preview is None else preview.picture(latents(report.x0))
        bar.update_absolute(report.index + 1, report.total, picture)

    return stepped


@contextmanager
def interruptible(blocks: Iterable[nn.Module]) -> Iterator[None]:
    """Inside, every block asks the host before it runs; where the user wants to stop, that raises its interruption."""
    hooks = [block.register_forward_pre_hook(lambda *_: check_interrupted()) for block in blocks]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def preview_of(model: DiffusionModel, video_vae: VideoPart | None, audio_vae: AudioPart | None) -> Preview:
    """What the VAEs can show of the model's streams. ValueError for a VAE of another generation."""
    parts: dict[str, Part | None] = {"video_vae": video_vae, "audio_vae": audio_vae}
    for name, part in parts.items():
        if part is not None:
            refuse_mixed(model, part.generation, name)
    colours = loudness = None
    if video_vae is not None and model.video_channels:
        colours = colours_of(video_vae, model.video_channels)
    if audio_vae is not None and model.audio_channels:
        loudness = loudness_of(audio_vae, model.audio_channels)
    return Preview(colours=colours, loudness=loudness)


def colours_of(part: VideoPart, channels: int) -> LinearMap:
    """The matrix from cells to colours of this VAE, fitted once to what its decoder makes of a few small latents."""
    if part.decoder not in _fitted:
        decoder, device = part.decoder.on(compute_device()), compute_device()
        latents = random_latents(channels, count=FITTED_PICTURES, cells=FITTED_CELLS)
        _fitted[part.decoder] = fit_preview(lambda latent: decoder.decode(latent.to(device)), latents)
    return _fitted[part.decoder]


def loudness_of(part: AudioPart, channels: int) -> LinearMap:
    """The matrix from audio frames to loudness of this VAE, fitted once."""
    if part.decoder not in _fitted:
        decoder, device = part.decoder.on(compute_device()), compute_device()
        generator = torch.Generator("cpu").manual_seed(0)
        latents = torch.randn(FITTED_SOUNDS, channels, 25 * FITTED_SECONDS, AUDIO_BINS, generator=generator)
        _fitted[part.decoder] = fit_envelope(lambda latent: decode_mel(decoder, latent.to(device)), latents)
    return _fitted[part.decoder]
