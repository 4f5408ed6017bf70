"""Fits the linear codec; a minute, and no task for the loop."""

from __future__ import annotations

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from ..embedded_config import Sizes
from ..linear_codec import LinearCodec, cells, codec_of, fit
from ..store import Store
from ..world import sample_scene
from ..world.picture import draw_frames
from .parts import trained
from .video_data import CLIP_FRAMES, SIDE, linear_psnr, whole_clips

NAME = "video_codec"
COLOURED = 0.2  # range of a cell's values between its channels above which an object is in it
BUSY, ANY, TYPICAL = 9, 3, 6  # cells taken of a clip: with an object in them, any, and to measure the spread by


def fit_codec(sizes: Sizes, store: Store, *, clips: int = 700) -> None:
    """Fit the codec on generated clips and save it; log its quality on held-out ones."""
    generator = np.random.default_rng(5)
    chosen, typical = [], []
    for seed in range(clips):
        found = _cells(seed, generator)
        chosen.append(_busy(found, generator))
        typical.append(found[generator.choice(len(found), TYPICAL, replace=False)])
    codec = fit(torch.cat(chosen), torch.cat(typical), sizes.video_encoder.latent_channels)
    store.save(NAME, codec.tensors())
    store.log(NAME, f"{len(torch.cat(chosen))} cells, {linear_psnr(codec, whole_clips(16)):.2f} dB on held-out clips")


def load_codec(store: Store) -> LinearCodec:
    """ValueError where the stage has not run."""
    trained(store, NAME, NAME)
    return codec_of(store.load(NAME))


def _cells(seed: int, generator: np.random.Generator) -> Tensor:
    """Cells (N, P) of a clip that begins anywhere; a third of them is its first frame, held."""
    first = int(generator.integers(0, CLIP_FRAMES - 17))
    frames = draw_frames(sample_scene(seed), frames=17, height=SIDE, width=SIDE, first=first)
    video = rearrange(torch.from_numpy(frames) * 2 - 1, "t h w c -> 1 c t h w")
    return cells(video).flatten(0, 3)


def _busy(x: Tensor, generator: np.random.Generator) -> Tensor:
    """Some cells, most of them with an object: they are the ones that need many components."""
    colours = rearrange(x, "n (c p) -> n c p", c=3)
    busy = torch.nonzero((colours.amax(dim=1) - colours.amin(dim=1)).amax(dim=1) > COLOURED)[:, 0].numpy()
    picked = generator.permutation(busy)[:BUSY]
    return x[np.concatenate([picked, generator.choice(len(x), ANY, replace=False)])]
