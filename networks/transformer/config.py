"""Configuration of the audio-video transformer (spec page transformer, section 1)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

Modality = Literal["video", "audio"]
PREFIXES: dict[Modality, str] = {"video": "", "audio": "audio_"}  # of everything that both streams have


@dataclass(frozen=True, kw_only=True)
class StreamConfig:
    """One token stream. Its text context, after projection, has the width of the stream."""

    width: int
    in_channels: int
    out_channels: int
    max_pos: tuple[float, ...]  # video: seconds, pixels, pixels; audio: seconds
    feed_forward_bias: bool = True


@dataclass(frozen=True, kw_only=True)
class RopeConfig:
    """How rotary tables are made: the published values."""

    theta: float = 10000.0
    interleaved: bool = False
    float64_grid: bool = True


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """The network; a stream that is None has no weights, and then there are no cross-modal weights either."""

    num_layers: int
    num_heads: int
    video: StreamConfig | None
    audio: StreamConfig | None
    caption_channels: int | None  # width of the projections of generation 2; None: contexts come at stream width
    text_modulation: bool  # 2.3, 2.5: text attention is modulated and gated
    prompt_embedder: bool  # 2.3, 2.5: that modulation also follows sigma
    gated_attention: bool
    keyframe_marker: bool  # 2.5
    norm_eps: float = 1e-6
    timestep_scale: float = 1000.0
    gate_timestep_scale: float = 1000.0  # av_ca_timestep_scale_multiplier
    rope: RopeConfig = field(default_factory=RopeConfig)

    def __post_init__(self) -> None:
        if self.video is None and self.audio is None:
            raise ValueError("a transformer needs a video stream, an audio stream or both; found none")
        if self.num_layers < 1 or self.num_heads < 1:
            raise ValueError(f"expected at least 1 layer and 1 head, found {self.num_layers} and {self.num_heads}")
        for name, stream in self.streams():
            if stream.width % (2 * self.num_heads):
                raise ValueError(
                    f"{name}: expected a width in multiples of {2 * self.num_heads} (an even number of features for "
                    f"each of {self.num_heads} heads), found {stream.width}"
                )
            axes = {"video": 3, "audio": 1}[name]
            if len(stream.max_pos) != axes:
                raise ValueError(f"{name}: expected {axes} maximum positions, found {list(stream.max_pos)}")
        if self.prompt_embedder and not self.text_modulation:
            raise ValueError("prompt_embedder needs text_modulation: there is no prompt table to add its output to")
        if self.keyframe_marker and self.video is None:
            raise ValueError("keyframe_marker needs a video stream")

    @property
    def modulation_rows(self) -> int:
        """Rows of the main modulation table of a stream."""
        return 9 if self.text_modulation else 6

    @property
    def both(self) -> bool:
        return self.video is not None and self.audio is not None

    def streams(self) -> Iterator[tuple[Modality, StreamConfig]]:
        if self.video is not None:
            yield "video", self.video
        if self.audio is not None:
            yield "audio", self.audio

    def stream(self, name: Modality) -> StreamConfig | None:
        return self.video if name == "video" else self.audio
