"""Video decoder on the fixed latents of the linear codec (spec page embedded_model, section 4.4, stage A)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...networks.video_vae.decoder import VideoDecoder
from ..embedded_config import Sizes
from ..optimiser import Rates
from ..store import Store
from .parts import build
from .video_codec import load_codec
from .video_data import PLAN, Plan, psnr, videos, whole_clips

EDGE_WEIGHT = 0.1  # more of it, or earlier, traps the network at a flat picture
LATENT_NOISE = 0.05  # what a diffusion model leaves behind


class VideoDecoderTask:
    """Learns to invert the codec, and to see more in its latents than the codec itself does."""

    name = "video_decoder"
    rates = Rates(muon=0.02, adam=2e-3, decay=0.1)
    hold = 0.2

    def __init__(self, sizes: Sizes, store: Store, *, plan: Plan = PLAN) -> None:
        self.codec = load_codec(store)
        self.decoder = build(VideoDecoder, "video_decoder", sizes, store, begin_video)
        self.networks: dict[str, nn.Module] = {"video_decoder": self.decoder}
        self.plan = plan

    def loss(self, step: int, progress: float) -> tuple[Tensor, dict[str, float]]:
        video = videos(step, self.plan.cut(step, progress))
        latent = self.codec.encode(video)
        latent = latent + LATENT_NOISE * torch.randn_like(latent)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            made = self.decoder(latent)
        loss, l1 = picture_loss(made.float(), video, refine=progress > 0.45)
        return loss, {"l1": l1}

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        clips = whole_clips(8)
        latent = self.codec.encode(clips)
        return {"psnr": psnr(self.decoder.decode(latent), clips), "linear": psnr(self.codec.decode(latent), clips)}


def picture_loss(made: Tensor, video: Tensor, *, refine: bool, edges: float = EDGE_WEIGHT) -> tuple[Tensor, float]:
    """L1, and with `refine` squares, which L1 alone lets small objects shrink by, and differences in space and time."""
    error = made - video
    l1 = error.abs().mean()
    if not refine:
        return l1, float(l1.detach())
    differences = sum((error.diff(dim=axis).abs().mean() for axis in (2, 3, 4)), start=torch.zeros(()))
    return l1 + error.square().mean() + edges * differences, float(l1.detach())


def begin_video(name: str, value: Tensor) -> Tensor:
    """Residual branches begin small: the network starts near a linear one."""
    return 0.3 * value if name.endswith("conv2.conv.weight") else value
