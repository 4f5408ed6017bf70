"""Configuration of the Gemma text decoders."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class LayerConfig:
    """Attention of one decoder layer. Layers of one kind are equal, and share rotary tables and mask."""

    num_heads: int
    num_kv_heads: int
    head_dim: int
    scale: float  # of q·k
    window: int | None  # a query sees keys less than `window` behind it; None: all of them
    rope_theta: float
    rope_factor: float = 1.0  # divides the frequencies
    rotated_pairs: int | None = None  # the rest of a head passes unrotated; None: all head_dim/2 pairs turn
    values_are_keys: bool = False  # values come from the projection of the keys


@dataclass(frozen=True, kw_only=True)
class GemmaConfig:
    """Sizes of one text decoder; `layers` from the first to the last."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    rms_norm_eps: float
    layers: tuple[LayerConfig, ...]
    logit_cap: float | None = None  # logits become cap · tanh(logits / cap)

    @property
    def num_states(self) -> int:
        """Hidden states that the decoder yields: the embedding and one a layer."""
        return len(self.layers) + 1
