"""Text encoder, connectors and transformer together, as a rectified flow (spec page embedded_model, section 7)."""

# B batch, C latent channels, F H W latent cells, T audio latent frames, f latent bins, N tokens
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ...networks.text.connector import Connector
from ...networks.text.features import SeparateProjection
from ...networks.text.gemma3 import Gemma3
from ...networks.transformer import Perturbation, Stream, Transformer
from ...samplers.shapes import VideoGrid
from ...samplers.tokens import audio_positions, patchify_audio, patchify_video, video_positions
from ..embedded_config import Sizes
from ..flow import flow_error
from ..optimiser import Rates
from ..store import Store
from ..world import sample_scene
from .captions import batch_of_ids
from .latents import load_cache
from .parts import build

NO_CAPTION = 0.1  # share of samples without one: guidance needs them
ZERO = ("scale_shift_table", "adaln_single.linear", "to_gate_logits", "proj_out.")  # blocks begin as identity
# What a step trains: share, by what is given. Whole batches, because one timestep a sample is twice as fast.
# apart: the two streams at noise levels of their own. Where both have the same one, each tells more about itself than
# the other does about it, and nothing makes them heed each other: after 120 000 clips a given sound changed no picture.
# alone: neither stream sees the other, which is what guidance towards the other one pulls away from.
MODES = {"text": 0.34, "apart": 0.17, "alone": 0.04, "image": 0.22, "audio": 0.1, "video": 0.05, "ends": 0.08}
# When the sound begins and where the object starts is decided above 0.8: two thirds of the samples are above 0.5.
SHIFT = 2.5
ALONE = (Perturbation(type="skip_a2v_cross_attn"), Perturbation(type="skip_v2a_cross_attn"))
LENGTHS = ((4, 26), (7, 51))  # latent frames of video and audio: 25 and 49 frames
FPS = 24.0


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Clean tokens (B, N, C) and what is to be generated: masks (1, N, 1), 1 = noisy."""

    video: Tensor
    audio: Tensor
    grid: VideoGrid
    video_mask: Tensor
    audio_mask: Tensor
    captions: list[str]
    sigma: Tensor  # B, of the video
    audio_sigma: Tensor  # B
    alone: bool


class TransformerTask:
    """Everything between a caption and the two latents."""

    name = "transformer"
    rates = Rates(muon=0.01, adam=1e-3, decay=0.05)
    hold = 0.6

    def __init__(self, sizes: Sizes, store: Store, *, batch: int = 16) -> None:
        self.sizes, self.batch, self.cache = sizes, batch, load_cache(store)
        self.text = build(Gemma3, "text", sizes, store)
        self.projection = build(SeparateProjection, "projection", sizes, store)
        self.connectors = [
            build(Connector, name, sizes, store, _begin) for name in ("video_connector", "audio_connector")
        ]
        self.transformer = build(Transformer, "transformer", sizes, store, _begin)
        _hold_open(self.transformer)
        self.networks: dict[str, nn.Module] = {
            "text": self.text,
            "projection": self.projection,
            "video_connector": self.connectors[0],
            "audio_connector": self.connectors[1],
            "transformer": self.transformer,
        }
        self.captions = [sample_scene(int(seed)).caption for seed in self.cache["seeds"]]

    def loss(self, step: int, progress: float) -> tuple[Tensor, dict[str, float]]:
        batch = self._batch(step, progress)
        video, audio = self._flow(batch)
        return video + audio, {"video": float(video.detach()), "audio": float(audio.detach())}

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Mean losses of text to video and audio on the cache, whole clips, a fixed set of noise."""
        losses = []
        for step in range(8):
            torch.manual_seed(step)
            losses.append([float(loss) for loss in self._flow(self._draw(np.random.default_rng([step, 3]), 1, "text"))])
        video, audio = (sum(values) / len(values) for values in zip(*losses, strict=True))
        return {"video": video, "audio": audio}

    def _batch(self, step: int, progress: float) -> Batch:
        generator = np.random.default_rng([step, 13])
        mode = str(generator.choice(list(MODES), p=list(MODES.values())))
        long = generator.random() < (0.3 if progress < 0.4 else 0.7)
        return self._draw(generator, int(long), mode)

    def _draw(self, generator: np.random.Generator, length: int, mode: str) -> Batch:
        rows = torch.from_numpy(generator.integers(0, len(self.captions), self.batch))
        frames, sounds = LENGTHS[length]
        video = self.cache["video"][rows, :, :frames].float()
        audio = self.cache["audio"][rows, :, :sounds].float()
        dropped = generator.random(self.batch) < NO_CAPTION
        captions = ["" if drop else self.captions[row] for row, drop in zip(rows.tolist(), dropped, strict=True)]
        sigma = self._levels(generator)
        grid = VideoGrid(*video.shape[2:])
        video_mask, audio_mask = _masks(mode, grid, sounds, generator)
        return Batch(
            video=patchify_video(video),
            audio=patchify_audio(audio),
            grid=grid,
            video_mask=video_mask,
            audio_mask=audio_mask,
            captions=captions,
            sigma=sigma,
            audio_sigma=self._levels(generator) if mode == "apart" else sigma,
            alone=mode == "alone",
        )

    def _levels(self, generator: np.random.Generator) -> Tensor:
        """Noise levels (B) in a random order: evenly spread over 0 to 1, then shifted."""
        strata = torch.from_numpy(generator.permutation(np.arange(self.batch)) + generator.random(self.batch))
        even = strata.float() / self.batch
        return SHIFT * even / (1 + (SHIFT - 1) * even)

    def contexts(self, captions: list[str]) -> tuple[Tensor, Tensor]:
        """Contexts (B, S, D) of both streams."""
        ids, mask = batch_of_ids(captions, self.sizes)
        features = self.projection(self.text.hidden_states(ids, mask), mask)
        video, audio = (
            connector(part, mask, length=self.sizes.text_length)
            for connector, part in zip(self.connectors, features, strict=True)
        )
        return video, audio

    def _flow(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Mean squared errors of the velocities, video and audio, over the tokens that are generated."""
        video_context, audio_context = self.contexts(batch.captions)
        noises = torch.randn_like(batch.video), torch.randn_like(batch.audio)
        positions = video_positions(batch.grid, FPS), audio_positions(batch.audio.shape[1])
        video = _stream(batch.video, noises[0], batch.video_mask, batch.sigma, positions[0], video_context)
        audio = _stream(batch.audio, noises[1], batch.audio_mask, batch.audio_sigma, positions[1], audio_context)
        velocities = self.transformer(video, audio, perturbations=[ALONE] * self.batch if batch.alone else None)
        return (
            flow_error(velocities[0], noises[0] - batch.video, batch.video_mask),
            flow_error(velocities[1], noises[1] - batch.audio, batch.audio_mask),
        )


def _stream(clean: Tensor, noise: Tensor, mask: Tensor, sigma: Tensor, positions: Tensor, context: Tensor) -> Stream:
    """The stream at noise level `sigma` where the mask is 1; a stream that is wholly given has sigma 0 itself."""
    levels = sigma[:, None, None] * mask  # B N 1
    if bool((mask == mask[:, :1]).all()):
        levels = levels[:, :1]
    return Stream(
        latent=clean + levels * (noise - clean),
        sigma=sigma if bool(mask.any()) else torch.zeros_like(sigma),
        timesteps=levels,
        positions=positions,
        context=context,
    )


def _masks(mode: str, grid: VideoGrid, sounds: int, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
    """image: the first frame is given; ends: all but a middle part; audio, video: the whole other stream."""
    video, audio = torch.ones(grid.frames, grid.height * grid.width, 1), torch.ones(sounds, 1)
    if mode == "image":
        video[0] = 0
    elif mode == "ends":
        first = int(generator.integers(1, grid.frames))
        last = int(generator.integers(first, grid.frames)) + 1
        video[:first], video[last:] = 0, 0
        seconds = torch.arange(sounds) / sounds * grid.frames
        audio[(seconds < first) | (seconds >= last)] = 0
    elif mode == "audio":
        audio.zero_()
    elif mode == "video":
        video.zero_()
    return video.flatten(0, 1)[None], audio[None]


def _hold_open(transformer: nn.Module) -> None:
    """Keep the head gates of the cross-modal attentions where they begin, at 1.

    What the other stream says is noise at first, so that training shuts these gates; once the sigmoid is flat, no
    gradient opens them again. The adaptive gate of the same attention is linear and can come back.
    """
    for name, parameter in transformer.named_parameters():
        if "to_gate_logits" in name and ("audio_to_video" in name or "video_to_audio" in name):
            parameter.requires_grad_(False)


def _begin(name: str, value: Tensor) -> Tensor:
    if any(part in name for part in ZERO):
        return torch.zeros_like(value)
    return value
