"""Audio VAE on generated sounds (spec page embedded_model, section 5)."""

# B batch, S channels, M mel frames, F mel bins, C latent channels, T latent frames, f latent bins
from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from ...networks.audio_vae import AudioDecoder, AudioEncoder, log_mel
from ..embedded_config import Sizes
from ..optimiser import Rates
from ..store import Store
from ..world import SAMPLE_RATE, sample_scene, samples_of
from ..world.sound import draw_sound
from .parts import build

SILENCE = -10.0  # about the mean of a log-mel
KL_WEIGHT, DIFFERENCES = 1e-4, 0.5
LOG_VARIANCE = -10.0, -2.0  # posterior noise must not grow into the signal
OTHER_PITCH, PITCHES = 0.3, (110.0, 2500.0)  # so that more than two tones can be coded
HELD_OUT_SEED = 10**6


class AudioVAETask:
    """Encoder and decoder together."""

    name = "audio_vae"
    rates = Rates(muon=0.02, adam=3e-3, decay=0.1)
    hold = 0.4

    def __init__(self, sizes: Sizes, store: Store, *, batch: int = 8, frames: int = 25) -> None:
        self.encoder = build(AudioEncoder, "audio_encoder", sizes, store, _begin_encoder)
        self.decoder = build(AudioDecoder, "audio_decoder", sizes, store, _begin_decoder)
        self.networks: dict[str, nn.Module] = {"audio_encoder": self.encoder, "audio_decoder": self.decoder}
        self.batch, self.frames = batch, frames
        self._moments = Tensor()
        self.encoder.conv_out.register_forward_hook(self._keep_moments)

    def _keep_moments(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self._moments = output  # the encoder itself hands out the mean only

    def loss(self, step: int, progress: float) -> tuple[Tensor, dict[str, float]]:
        mel = torch.cat([sound_mel(step * self.batch + i, frames=self.frames, vary=True) for i in range(self.batch)])
        mean = self.encoder(mel)
        log_variance = self._moments.chunk(2, dim=1)[1].clamp(*LOG_VARIANCE)
        latent = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        error = self.decoder(latent) - mel
        l1 = error.abs().mean()
        edges = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
        return l1 + DIFFERENCES * edges + KL_WEIGHT * kl, {"l1": float(l1.detach())}

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Mean absolute error in nats on sounds that training does not draw."""
        mels = torch.cat([sound_mel(HELD_OUT_SEED + i, frames=self.frames, held_out=True) for i in range(24)])
        return {"nats": float((self.decoder(self.encoder(mels)) - mels).abs().mean())}


def sound_mel(seed: int, *, frames: int, vary: bool = False, held_out: bool = False) -> Tensor:
    """Log-mel (1, 2, M, F) of a scene's sound; vary: with a random gain, and sometimes another pitch."""
    scene, generator = sample_scene(seed, held_out=held_out), np.random.default_rng([seed, 7])
    frequency = None
    if vary and generator.random() < OTHER_PITCH:
        frequency = float(np.exp(generator.uniform(*np.log(PITCHES))))
    sound = draw_sound(scene, samples=samples_of(frames), rate=SAMPLE_RATE, duration=frames / 24, frequency=frequency)
    gain = float(np.exp(generator.uniform(-1.5, 0.3))) if vary else 1.0
    return log_mel(torch.from_numpy(sound * np.float32(gain))[None])


def _begin_encoder(name: str, value: Tensor) -> Tensor:
    if name == "conv_in.conv.weight":
        return 0.15 * value  # a log-mel has a mean of -10 and a spread of 3
    if name == "conv_out.conv.bias":
        value[value.shape[0] // 2 :] = -6.0  # the posterior noise starts small
    return value


def _begin_decoder(name: str, value: Tensor) -> Tensor:
    return torch.full_like(value, SILENCE) if name == "conv_out.conv.bias" else value
