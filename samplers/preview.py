"""Small pictures and a loudness curve from latents while a stage runs, without a decoder: one matrix each.

No published factors exist. They are fitted once a VAE, by least squares, to what its own decoder makes of latents:
random ones, or better latents of real pictures. A fit costs the decoding of a few small pictures (the default: 6 of
512x512 pixels); a preview costs one product of each cell with a matrix (channels + 1, 3).
"""

# B batch, C channels, F H W latent frames, rows, columns; T audio latent frames; n samples, k features, m targets
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from einops import rearrange, reduce, repeat
from torch import Tensor

RIDGE = 1e-3  # share of the mean power of the features: a channel that says nothing gets no weight
CURVE = 32  # pixels of the loudness curve's height
SCALES = (1, 2, 4)  # cells that neighbours have in common in a random latent: real ones are smooth


@dataclass(frozen=True, kw_only=True, eq=False)
class LinearMap:
    """target = features @ weights + offset; error: root of the mean square of what it leaves, on its own samples.

    weights (k, m), offset (m,), float32.
    """

    weights: Tensor
    offset: Tensor
    error: float

    def __call__(self, features: Tensor) -> Tensor:
        """(…, k) -> (…, m) float32."""
        return features.float() @ self.weights.to(features.device) + self.offset.to(features.device)


def fit_linear(features: Tensor, targets: Tensor) -> LinearMap:
    """Least squares from n samples, features (n, k) and targets (n, m), on the CPU. ValueError for too few samples."""
    n, k = features.shape
    if n <= k or len(targets) != n:
        raise ValueError(f"preview: expected more than {k} samples with a target each, found {n} and {len(targets)}")
    x, y = features.cpu().double(), targets.cpu().double()
    mean_x, mean_y = x.mean(0), y.mean(0)
    centred = x - mean_x
    power = centred.T @ centred
    ridge = RIDGE * power.diagonal().mean() * torch.eye(k, dtype=power.dtype)
    weights = torch.linalg.solve(power + ridge, centred.T @ (y - mean_y))
    error = float((centred @ weights + mean_y - y).square().mean().sqrt())
    return LinearMap(weights=weights.float(), offset=(mean_y - mean_x @ weights).float(), error=error)


def random_latents(channels: int, *, count: int = 6, cells: int = 16, seed: int = 0) -> Tensor:
    """Latents (count, channels, 1, cells, cells) of single pictures to fit to, of deviation 1, coarse and fine."""
    generator = torch.Generator("cpu").manual_seed(seed)
    latents = []
    for index in range(count):
        size = max(cells // SCALES[index % len(SCALES)], 2)
        coarse = torch.randn(1, channels, size, size, generator=generator)
        picture = F.interpolate(coarse, size=(cells, cells), mode="bilinear")
        latents.append(picture / picture.std())
    return rearrange(torch.cat(latents), "b c h w -> b c 1 h w")


def fit_preview(decode: Callable[[Tensor], Tensor], latents: Tensor) -> LinearMap:
    """Cell -> its mean colour (3,) in [0, 1], from what `decode` makes of `latents` (B, C, 1, H, W), one by one.

    decode: (1, C, 1, H, W) -> pixels (1, 3, 1, height, width) in [-1, 1]. ValueError for less than C + 1 cells.
    """
    colours = [_cell_colours(decode(latent[None]), latent) for latent in latents]
    return fit_linear(rearrange(latents, "b c 1 h w -> (b h w) c"), torch.cat(colours))


def preview_frames(latent: Tensor, colours: LinearMap, *, sample: int = 0) -> Tensor:
    """The frames of a video latent (B, C, F, H, W), a pixel a cell: uint8 (F, H, W, 3) on the CPU."""
    cells = rearrange(latent[sample], "c f h w -> f h w c")
    return (colours(cells).clamp(0, 1) * 255).round().byte().cpu()


def spread(count: int, most: int) -> list[int]:
    """Up to `most` indices out of `count`, evenly spread from the first to the last."""
    kept = min(count, most)
    return [0] if kept == 1 else [round(index * (count - 1) / (kept - 1)) for index in range(kept)]


def film_strip(frames: Tensor | None, envelope: Tensor | None, *, width: int = 512) -> Tensor:
    """Frames (F, H, W, 3) side by side, the loudness (T,) as a curve below them: uint8 (height, about width, 3).

    Each cell becomes a square of pixels, smoothed. At least one of both is given.
    """
    assert frames is not None or envelope is not None
    rows = []
    if frames is not None:
        count, height, cells = frames.shape[:3]
        scale = max(width // (count * cells), 1)
        pixels = rearrange(frames.float(), "f h w c -> f c h w")
        pixels = F.interpolate(pixels, size=(height * scale, cells * scale), mode="bilinear")
        rows.append(rearrange(pixels, "f c h w -> h (f w) c"))
        width = rows[0].shape[1]
    if envelope is not None:
        rows.append(_curve(envelope, width))
    return torch.cat(rows).round().clamp(0, 255).byte()


def _curve(envelope: Tensor, width: int) -> Tensor:
    """Bars (CURVE, width, 3) in 0 … 255, as high as the curve in [0, 1], from the middle to both sides."""
    levels = F.interpolate(envelope[None, None].float(), size=width, mode="linear")[0, 0]
    distance = (torch.arange(CURVE) - (CURVE - 1) / 2).abs() / (CURVE / 2)
    return repeat((distance[:, None] <= levels) * 200.0, "h w -> h w c", c=3)


def fit_envelope(decode: Callable[[Tensor], Tensor], latents: Tensor) -> LinearMap:
    """Audio frame -> its loudness, from what `decode` makes of `latents` (B, 8, T, bins), one by one.

    decode: (1, 8, T, bins) -> log-mel spectrogram (1, channels, about 4 T, mel bins); the loudness of a frame is the
    mean of its spectrogram. ValueError for less frames than 8 * bins + 1.
    """
    loudness = []
    for latent in latents:
        mel = reduce(decode(latent[None]), "1 c t bins -> 1 1 t", "mean")
        loudness.append(rearrange(F.interpolate(mel, size=latent.shape[1], mode="linear"), "1 1 t -> t 1"))
    return fit_linear(rearrange(latents, "b c t bins -> (b t) (c bins)"), torch.cat(loudness))


def audio_envelope(latent: Tensor, loudness: LinearMap, *, sample: int = 0) -> Tensor:
    """The loudness of each frame of an audio latent (B, 8, T, bins), (T,) in [0, 1], 1 being its loudest frame.

    A curve to draw: relative to the clip itself, without unit. Of a clip as loud everywhere it is 1.
    """
    curve = loudness(rearrange(latent[sample], "c t bins -> t (c bins)"))[:, 0].cpu()
    low, high = curve.min(), curve.max()
    return (curve - low) / (high - low) if high > low else torch.ones_like(curve)


def _cell_colours(pixels: Tensor, latent: Tensor) -> Tensor:
    """Mean colours (h*w, 3) in [0, 1] of the cells of one picture (1, 3, 1, height, width)."""
    height, width = latent.shape[2:]
    picture = pixels[:, :, 0].float()
    cells = reduce(
        picture, "1 c (h p) (w q) -> (h w) c", "mean", p=picture.shape[2] // height, q=picture.shape[3] // width
    )
    return (cells + 1) / 2
