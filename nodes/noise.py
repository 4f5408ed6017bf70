"""NOISE on the wires: where a stage's random numbers come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ..samplers.noise import SEEDS, Draw, SdeNoise, draw_noise, sde_noise, step_noise
from ..samplers.state import AudioLayout, StreamState
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


def _grid_noise(state: StreamState, generator: torch.Generator) -> Tensor:
    """Drawn in the latent's own layout, then made tokens."""
    layout, (batch, _, channels) = state.layout, state.latent.shape
    assert layout is not None
    if isinstance(layout, AudioLayout):
        shape = (batch, layout.channels, layout.tokens, channels // layout.channels)
        return patchify_audio(torch.randn(shape, generator=generator))
    return patchify_video(torch.randn(batch, channels, *layout.grid, generator=generator))


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
                )
            ],
            outputs=[io.Noise.Output("noise", tooltip="For Sample Stage (LTX), or ComfyUI's SamplerCustomAdvanced.")],
        )

    @classmethod
    def execute(cls, noise_seed: int) -> io.NodeOutput:
        return io.NodeOutput(SeededNoise(noise_seed))


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
        return io.NodeOutput(SeededNoise((noise.seed + NEXT_STAGE) % SEEDS))
