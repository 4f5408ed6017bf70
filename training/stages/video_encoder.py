"""Video encoder by regression on the codec's latents (spec page embedded_model, section 4.4, stage B)."""

# B batch, C latent channels, F latent frames
from __future__ import annotations

import torch
from torch import Tensor, nn

from ...networks.video_vae.encoder import VideoEncoder
from ..embedded_config import Sizes
from ..linear_codec import LinearCodec
from ..optimiser import Rates
from ..store import Store
from .linear_start import start_linear
from .parts import build
from .video_codec import load_codec
from .video_data import PLAN, Cut, Plan, videos, whole_clips

START = Cut(batch=8, frames=17, side=64)  # a batch of what the first guess is made of


class VideoEncoderTask:
    """Needs no decoder: the latents are known. Begins as the best linear encoder that the network can be."""

    name = "video_encoder"
    rates = Rates(muon=0.002, adam=2e-4, decay=0.1)
    hold = 0.2

    def __init__(self, sizes: Sizes, store: Store, *, plan: Plan = PLAN, start_batches: int = 40) -> None:
        self.codec = load_codec(store)
        self.weights = channel_weights(self.codec)
        self.encoder = build(VideoEncoder, "video_encoder", sizes, store, _begin)
        if not bool(self.encoder.conv_out.conv.weight.any()):  # fresh, as `_begin` left it
            start_linear(self.encoder, self.codec, torch.cat([videos(step, START) for step in range(start_batches)]))
        self.networks: dict[str, nn.Module] = {"video_encoder": self.encoder}
        self.plan = plan

    def loss(self, step: int, progress: float) -> tuple[Tensor, dict[str, float]]:
        video = videos(step, self.plan.cut(step, progress))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            latent = self.encoder(video)
        error = latent.float() - self.codec.encode(video)
        squared = (error.square() * self.weights).mean()
        return squared, {"squared": float(squared.detach())}

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        clips = whole_clips(8)
        error = (self.encoder.encode(clips) - self.codec.encode(clips)).square()
        return {"first": float(error[:, :, 0].mean()), "rest": float(error[:, :, 1:].mean())}


def channel_weights(codec: LinearCodec) -> Tensor:
    """(C, 1, 1, 1): by what a channel moves in the picture, mean 1."""
    norm = codec.synthesis.norm(dim=1)
    weights: Tensor = (norm / norm.mean())[:, None, None, None]
    return weights


def _begin(name: str, value: Tensor) -> Tensor:
    """Residual branches add nothing yet. A last layer of zeros is the mark of a fresh network."""
    return torch.zeros_like(value) if name.endswith(("conv2.conv.weight", "conv_out.conv.weight")) else value
