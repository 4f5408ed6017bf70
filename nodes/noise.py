"""NOISE on the wires: where a stage's random numbers come from."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ..samplers.noise import SEEDS, Draw, SdeNoise, draw_noise, sde_noise, step_noise
from ..samplers.state import AudioLayout, StreamState, VideoLayout
from ..samplers.streams import Streams
from ..samplers.tokens import patchify_audio, patchify_video
from .host.api import io
from .latents import Latent, items_of, joined, members

NEXT_STAGE = 0x9E3779B97F4A7C15  # added to the seed: far from the seeds that people try one after the other


class NoiseSource(Protocol):
    """The random numbers of one stage."""

    def start(self, states: Streams[StreamState]) -> Streams[Tensor]:
        """Start noise (B, T, C) of each stream, appended tokens included."""

    def steps(self) -> Draw:
        """Noise between the steps of a stochastic rule."""

    def sde(self, seed: int) -> SdeNoise:
        """The two noises of res_2s."""


@dataclass(frozen=True)
class SeededNoise:
    """From a seed, on the CPU. Order: video grid, its appended tokens, audio grid, its appended tokens.

    Without appended tokens these are ComfyUI's numbers. `generate_noise` is ComfyUI's own interface; its samplers know
    nothing of our conditioning items, so a latent with some is refused there.
    """

    seed: int

    def start(self, states: Streams[StreamState]) -> Streams[Tensor]:
        generator = torch.Generator("cpu").manual_seed(self.seed)

        def draw(state: StreamState) -> Tensor:
            batch, tokens, channels = state.latent.shape
            grid = _grid_noise(state, generator)
            extra = torch.randn(batch, tokens - grid.shape[1], channels, generator=generator)
            return torch.cat([grid, extra], dim=1)

        return states.map(draw)

    def steps(self) -> Draw:
        return step_noise(self.seed)

    def sde(self, seed: int) -> SdeNoise:
        return sde_noise(seed)

    def generate_noise(self, latent: Latent) -> Any:
        if any(items_of(latent).present()):
            raise ValueError(
                "latent: expected no conditioning items of OpenLTX for ComfyUI's samplers, found some; use Sample "
                "Stage (LTX), or guides of LTXVAddGuide"
            )
        return joined(draw_noise(self.seed, members(latent).map(lambda member: member.shape)))


@dataclass(frozen=True)
class CommunityNoise(SeededNoise):
    """A seed's numbers in the order of ComfyUI's samplers, so that the seed of an old workflow gives its old clip.

    Start: the video with its appended frames as one latent, then the sound. Steps: video and sound packed into one
    tensor, seed + 1 (what ComfyUI does on a CPU; on other devices it draws there, and no two devices agree).
    """

    _states: list[Streams[StreamState]] = field(default_factory=list, compare=False, repr=False)

    def start(self, states: Streams[StreamState]) -> Streams[Tensor]:
        self._states[:] = [states]
        return _as_tokens(draw_noise(self.seed, states.map(_whole_shape)), states)

    def steps(self) -> Draw:
        generator = torch.Generator("cpu").manual_seed((self.seed + 1) % SEEDS)

        def draw(latents: Streams[Tensor]) -> Streams[Tensor]:
            assert self._states, "step noise is asked for before start noise"
            states = self._states[0]
            shapes = states.map(_whole_shape)
            sizes = [math.prod(shape[1:]) for shape in shapes.present()]
            batch = states.present()[0].latent.shape[0]
            packed = torch.randn(batch, 1, sum(sizes), generator=generator)[:, 0]
            parts = iter(torch.split(packed, sizes, dim=1))
            drawn = shapes.map(lambda shape: next(parts).reshape(tuple(shape)))
            return _as_tokens(drawn, states).map(lambda noise, latent: noise.to(latent), latents)

        return draw


def _whole_shape(state: StreamState) -> tuple[int, ...]:
    """Of the latent that ComfyUI would sample: appended pictures and clips are frames at its end."""
    layout, (batch, _, channels) = state.layout, state.latent.shape
    assert layout is not None
    if isinstance(layout, AudioLayout):
        return batch, layout.channels, layout.tokens, channels // layout.channels
    frames, height, width = layout.grid
    return batch, channels, frames + _appended_frames(state, height * width), height, width


def _appended_frames(state: StreamState, cells: int) -> int:
    """A coarser reference has fewer tokens a frame: each of them covers several cells."""
    assert isinstance(state.layout, VideoLayout)
    sides = state.positions[0, 1:, state.grid_tokens :]  # 2 M 2
    areas = ((sides[..., 1] - sides[..., 0]) / state.layout.scale.space).prod(dim=0)
    return round(float(areas.sum()) / cells)


def _as_tokens(drawn: Streams[Tensor], states: Streams[StreamState]) -> Streams[Tensor]:
    """Latents as tokens of the states. A voice has no noise there: it is given; coarse references have fewer tokens."""

    def tokens(latent: Tensor, state: StreamState) -> Tensor:
        own = patchify_video(latent) if latent.ndim == 5 else patchify_audio(latent)
        return F.pad(own, (0, 0, 0, state.latent.shape[1] - own.shape[1]))

    return drawn.map(tokens, states)


def _grid_noise(state: StreamState, generator: torch.Generator) -> Tensor:
    """Drawn in the latent's own layout, then made tokens."""
    layout, (batch, _, channels) = state.layout, state.latent.shape
    assert layout is not None
    if isinstance(layout, AudioLayout):
        shape = (batch, layout.channels, layout.tokens, channels // layout.channels)
        return patchify_audio(torch.randn(shape, generator=generator))
    return patchify_video(torch.randn(batch, channels, *layout.grid, generator=generator))


ORDERS: dict[str, type[SeededNoise]] = {"OpenLTX": SeededNoise, "as ComfyUI": CommunityNoise}


class Noise(io.ComfyNode):
    """A seed."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXNoise",
            display_name="Noise (LTX)",
            category="OpenLTX/sampling",
            description="The random numbers of a stage, from a seed, on the CPU.",
            inputs=[
                io.Int.Input(
                    "noise_seed",
                    default=10,
                    min=0,
                    max=2**64 - 1,
                    control_after_generate=True,
                    tooltip="The same seed and settings give the same result on the same machine.",
                ),
                io.Combo.Input(
                    "order",
                    options=list(ORDERS),
                    default="OpenLTX",
                    optional=True,
                    tooltip="as ComfyUI: with appended pictures or random steps, a seed of ComfyUI gives its numbers.",
                ),
            ],
            outputs=[io.Noise.Output("noise", tooltip="For Sample Stage (LTX), or ComfyUI's SamplerCustomAdvanced.")],
        )

    @classmethod
    def execute(cls, noise_seed: int, order: str = "OpenLTX") -> io.NodeOutput:
        return io.NodeOutput(ORDERS[order](noise_seed))


class NextNoise(io.ComfyNode):
    """Other random numbers from the same seed."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXNextNoise",
            display_name="Noise of Next Stage (LTX)",
            category="OpenLTX/sampling",
            description="The random numbers of a later stage: other ones, but still from the one seed of the run.",
            inputs=[io.Noise.Input("noise", tooltip="Of the stage before.")],
            outputs=[io.Noise.Output("noise", tooltip="For the next Sample Stage (LTX).")],
        )

    @classmethod
    def execute(cls, noise: SeededNoise) -> io.NodeOutput:
        return io.NodeOutput(type(noise)((noise.seed + NEXT_STAGE) % SEEDS))
