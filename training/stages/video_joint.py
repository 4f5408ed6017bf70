"""Encoder and decoder together, near the codec's latents (spec page embedded_model, section 4.4, stage C)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...networks.video_vae.decoder import VideoDecoder
from ...networks.video_vae.encoder import VideoEncoder
from ..embedded_config import Sizes
from ..optimiser import Rates
from ..store import Store
from .parts import build, trained
from .video_codec import load_codec
from .video_data import PLAN, Plan, psnr, videos, whole_clips
from .video_decoder import LATENT_NOISE, picture_loss
from .video_encoder import channel_weights

ANCHOR = 0.05  # keeps the latents where they are: their statistics, and what a diffusion model knows of them

EDGES = 0.3  # weight of differences: corners of small objects are what is still missing


class VideoJointTask:
    """The last stage of the video VAE."""

    name = "video_joint"
    rates = Rates(muon=0.0006, adam=6e-5, decay=0.1)  # more shakes the latents out of place
    hold = 0.2

    def __init__(self, sizes: Sizes, store: Store, *, plan: Plan = PLAN) -> None:
        for name in ("video_encoder", "video_decoder"):
            trained(store, name, name)
        self.codec = load_codec(store)
        self.weights = channel_weights(self.codec)
        self.encoder = build(VideoEncoder, "video_encoder", sizes, store)
        self.decoder = build(VideoDecoder, "video_decoder", sizes, store)
        self.networks: dict[str, nn.Module] = {"video_encoder": self.encoder, "video_decoder": self.decoder}
        self.plan = plan

    def loss(self, step: int, progress: float) -> tuple[Tensor, dict[str, float]]:
        video = videos(step, self.plan.cut(step, progress))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            latent = self.encoder(video).float()
            made = self.decoder(latent + LATENT_NOISE * torch.randn_like(latent))
        loss, l1 = picture_loss(made.float(), video, refine=True, edges=EDGES)
        distance = ((latent - self.codec.encode(video)).square() * self.weights).mean()
        return loss + ANCHOR * distance, {"l1": l1, "distance": float(distance.detach())}

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        clips = whole_clips(8)
        latent, linear = self.encoder.encode(clips), self.codec.encode(clips)
        return {
            "psnr": psnr(self.decoder.decode(latent), clips),
            "of codec latents": psnr(self.decoder.decode(linear), clips),
            "linear": psnr(self.codec.decode(linear), clips),
            "first frame": psnr(self.decoder.decode(latent)[:, :, :1], clips[:, :, :1]),
        }
