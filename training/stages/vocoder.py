"""First generator of the vocoder on true log-mels (spec page embedded_model, section 6); the second adds nothing."""

# B batch, S channels, N samples, M mel frames
from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...networks.audio_vae import log_mel
from ...networks.vocoder import BandwidthExtensionVocoder
from ..embedded_config import Sizes
from ..optimiser import Rates
from ..store import Store
from ..world import SAMPLE_RATE, sample_scene, samples_of
from ..world.sound import draw_sound
from .parts import build

WINDOWS = (128, 256, 512, 1024)
HOP = 160
MEL_WEIGHT, LOG_WEIGHT = 0.5, 0.5
SEGMENT = 32  # mel frames
HELD_OUT_SEED = 10**6


class VocoderTask:
    """Without the clamp: what lies beyond it would have no gradient and never come back."""

    name = "vocoder"
    rates = Rates(muon=0.003, adam=5e-4, decay=0.1, betas=(0.8, 0.99))  # muon at 0.02 diverges after a minute
    hold = 0.4

    def __init__(self, sizes: Sizes, store: Store, *, batch: int = 4, segment: int = SEGMENT) -> None:
        open_end = replace(sizes.vocoder.generator, final_activation="none")
        unclamped = replace(sizes, vocoder=replace(sizes.vocoder, generator=open_end))
        network = build(BandwidthExtensionVocoder, "vocoder", unclamped, store)
        network.requires_grad_(False)
        network.vocoder.requires_grad_(True)
        self.generator = network.vocoder
        self.networks: dict[str, nn.Module] = {"vocoder": network}
        self.batch, self.segment = batch, segment

    def loss(self, step: int, progress: float) -> tuple[Tensor, dict[str, float]]:
        pairs = [segment_of(step * self.batch + index, self.segment) for index in range(self.batch)]
        mel, target = (torch.cat(parts) for parts in zip(*pairs, strict=True))
        made = self.generator(mel)
        spectral = spectral_loss(made, target)
        nats = (log_mel(made) - log_mel(target)).abs().mean()
        return spectral + MEL_WEIGHT * nats, {"spectral": float(spectral.detach()), "nats": float(nats.detach())}

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        pairs = [segment_of(HELD_OUT_SEED + index, 100, held_out=True) for index in range(12)]
        mel, target = (torch.cat(parts) for parts in zip(*pairs, strict=True))
        return {"nats": float((log_mel(self.generator(mel)) - log_mel(target)).abs().mean())}


def segment_of(seed: int, frames: int, *, held_out: bool = False) -> tuple[Tensor, Tensor]:
    """Log-mel (1, 2, frames, F) of a part of a scene's sound, and its samples (1, 2, 160 frames)."""
    scene, generator = sample_scene(seed, held_out=held_out), np.random.default_rng([seed, 17])
    sound = torch.from_numpy(draw_sound(scene, samples=samples_of(49), rate=SAMPLE_RATE, duration=49 / 24))[None]
    mel = log_mel(sound)
    first = int(generator.integers(0, mel.shape[2] - frames))
    return mel[:, :, first : first + frames], sound[..., HOP * first : HOP * (first + frames)]


def spectral_loss(made: Tensor, target: Tensor) -> Tensor:
    """Spectral convergence and L1 of log-magnitudes, mean over four windows; both (B, S, N)."""
    total = torch.zeros(())
    for size in WINDOWS:
        ours, true = _magnitude(made, size), _magnitude(target, size)
        total = total + (ours - true).norm() / (true.norm() + 1e-4)
        total = total + LOG_WEIGHT * F.l1_loss((ours + 1e-4).log(), (true + 1e-4).log())
    return total / len(WINDOWS)


def _magnitude(x: Tensor, size: int) -> Tensor:
    window = torch.hann_window(size, device=x.device)
    spectrum = torch.stft(x.flatten(0, 1), size, size // 4, window=window, center=True, return_complex=True)
    magnitude: Tensor = (spectrum.real.square() + spectrum.imag.square() + 1e-9).sqrt() / size**0.5
    return magnitude
