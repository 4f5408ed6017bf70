"""The decoder alone, on the latents of the finished encoder: a given first picture, and the corners of small shapes.

The latents stay as they are, so that nothing that was trained on them has to learn anything anew.
"""

from __future__ import annotations

from itertools import permutations

import torch
from torch import Tensor, nn

from ...networks.video_vae.decoder import VideoDecoder
from ...networks.video_vae.encoder import VideoEncoder
from ..embedded_config import Sizes
from ..optimiser import Rates
from ..store import Store
from .parts import build, trained
from .video_data import SIDE, Cut, Plan, hard_scene, psnr, videos, whole_clips
from .video_decoder import LATENT_NOISE, picture_loss
from .video_joint import EDGES

PLAN = Plan(
    crops=(Cut(batch=4, frames=9, side=64), Cut(batch=2, frames=25, side=64), Cut(batch=1, frames=25, side=SIDE)),
    whole=(Cut(batch=1, frames=49, side=SIDE), Cut(batch=1, frames=25, side=SIDE)),
)
GIVEN = Cut(batch=2, frames=17, side=SIDE)
GIVEN_EVERY = 2  # of so many steps one asks for the first picture, whatever follows it
ORDERS = torch.tensor(list(permutations(range(3))))  # of the three colours
MOST_NOISE = 0.6  # of what follows, in standard deviations


class VideoFinishTask:
    """Half of the steps see whole clips; in the others only the first frame counts, and what follows it is disturbed.

    The decoder looks ahead. What a diffusion model draws after a given picture is never exactly what the encoder would
    have made of the true clip, and a decoder that has seen nothing else blurs the picture with it.
    """

    name = "video_finish"
    rates = Rates(muon=0.003, adam=3e-4, decay=0.1)
    hold = 0.2

    def __init__(self, sizes: Sizes, store: Store, *, plan: Plan = PLAN, given: Cut = GIVEN) -> None:
        for name in ("video_encoder", "video_decoder"):
            trained(store, name, "video_joint")
        self.encoder = build(VideoEncoder, "video_encoder", sizes, store).requires_grad_(False)
        self.decoder = build(VideoDecoder, "video_decoder", sizes, store)
        self.networks: dict[str, nn.Module] = {"video_decoder": self.decoder}
        self.plan, self.given = plan, given

    def loss(self, step: int, progress: float) -> tuple[Tensor, dict[str, float]]:
        first_only = step % GIVEN_EVERY == 1
        turn = step // GIVEN_EVERY
        video = videos(step, self.given if first_only else self.plan.cut(turn, progress), hard_scene)
        video = recoloured(video) if turn % 2 else video
        with torch.autocast("cpu", dtype=torch.bfloat16):
            latent = self.encoder(video).float()
            latent = disturbed(latent, turn) if first_only else latent + LATENT_NOISE * torch.randn_like(latent)
            made = self.decoder(latent).float()
        if first_only:
            loss, l1 = picture_loss(made[:, :, :1], video[:, :, :1], refine=True, edges=EDGES)
            return loss, {"first": l1}
        loss, l1 = picture_loss(made, video, refine=True, edges=EDGES)
        return loss, {"l1": l1}

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        clips = whole_clips(8)
        latent = self.encoder.encode(clips)
        decode = self.decoder.decode
        return {"psnr": psnr(decode(latent), clips)} | {
            f"first frame, {name}": psnr(decode(given)[:, :, :1], clips[:, :, :1])
            for name, given in (("as it is", latent), ("alone", latent[:, :, :1]), ("others follow", others(latent)))
        }


def recoloured(video: Tensor) -> Tensor:
    """Each clip (B, 3, T, H, W) with its channels mixed at random, greys as they are: colours of no caption.

    A LoRA is to teach the transformer new colours, which a decoder of four could not draw.
    """
    shares = torch.softmax(3 * torch.randn(len(video), len(ORDERS)), dim=1)
    mix = torch.einsum("b o, o i j -> b i j", shares, torch.eye(3)[ORDERS])  # of permutations: rows sum to 1
    return torch.einsum("b i j, b j t h w -> b i t h w", mix, video)


def disturbed(latent: Tensor, turn: int) -> Tensor:
    """(B, C, T, h, w): the first latent frame as it is, then in turn: nothing, another clip's, noise on its own."""
    if turn % 4 == 0:
        return latent[:, :, :1]
    if turn % 4 == 1:
        return others(latent)
    following = latent[:, :, 1:]
    noise = MOST_NOISE * torch.rand(len(latent), 1, 1, 1, 1) * torch.randn_like(following)
    return torch.cat([latent[:, :, :1], following + noise], dim=2)


def others(latent: Tensor) -> Tensor:
    """The first latent frame of each clip, followed by what follows in another clip of the batch."""
    return torch.cat([latent[:, :, :1], latent[:, :, 1:].roll(1, dims=0)], dim=2)
