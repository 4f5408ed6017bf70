"""Hugging Face configuration of a Gemma text decoder → GemmaConfig (text.md section 3.1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..networks.text.gemma_config import GemmaConfig, LayerConfig

# The published config.json leaves most of these out.
GEMMA3_DEFAULTS: dict[str, Any] = {
    "vocab_size": 262208,
    "head_dim": 256,
    "query_pre_attn_scalar": 256,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1e6,
    "rope_local_base_freq": 1e4,
    "sliding_window_pattern": 6,
    "attention_bias": False,
    "attn_logit_softcapping": None,
    "final_logit_softcapping": None,
    "hidden_activation": "gelu_pytorch_tanh",
}
# Gemma 3 12B, for single files that carry no configuration.
GEMMA3_12B: dict[str, Any] = {
    "hidden_size": 3840,
    "intermediate_size": 15360,
    "num_hidden_layers": 48,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "sliding_window": 1024,
    "rope_scaling": {"rope_type": "linear", "factor": 8.0},
}
SUPPORTED: dict[str, tuple[Any, ...]] = {
    "attention_bias": (False,),
    "attn_logit_softcapping": (None,),
    "final_logit_softcapping": (None,),
    "hidden_activation": ("gelu_pytorch_tanh",),
}
LAYER_TYPES = ("sliding_attention", "full_attention")


def gemma3_config(config: Mapping[str, Any]) -> GemmaConfig:
    """config: a whole `config.json` or its `text_config`, older or newer style.

    Raises ValueError, one line, for a missing field without a default and for values that the network does not have.
    """
    text = {**GEMMA3_DEFAULTS, **config.get("text_config", config)}
    for name, values in SUPPORTED.items():
        if text[name] not in values:
            raise ValueError(
                f"Gemma 3 config: expected {name} {values[0]!r}, found {text[name]!r}; use the published encoder"
            )
    by_type = {kind: _layer(text, kind) for kind in LAYER_TYPES}
    return GemmaConfig(
        vocab_size=text["vocab_size"],
        hidden_size=_required(text, "hidden_size"),
        intermediate_size=_required(text, "intermediate_size"),
        rms_norm_eps=text["rms_norm_eps"],
        layers=tuple(by_type[kind] for kind in _layer_types(text)),
    )


def _layer(text: Mapping[str, Any], kind: str) -> LayerConfig:
    theta, factor = _rope(text, kind)
    return LayerConfig(
        num_heads=_required(text, "num_attention_heads"),
        num_kv_heads=_required(text, "num_key_value_heads"),
        head_dim=text["head_dim"],
        scale=text["query_pre_attn_scalar"] ** -0.5,
        window=_required(text, "sliding_window") if kind == "sliding_attention" else None,
        rope_theta=theta,
        rope_factor=factor,
    )


def _rope(text: Mapping[str, Any], kind: str) -> tuple[float, float]:
    """theta and factor of a layer type."""
    if "rope_parameters" in text:
        rope = text["rope_parameters"].get(kind) or {}
        return float(_required(rope, "rope_theta")), _linear_factor(rope)
    if kind == "sliding_attention":
        return float(text["rope_local_base_freq"]), 1.0
    return float(text["rope_theta"]), _linear_factor(text.get("rope_scaling") or {})


def _linear_factor(rope: Mapping[str, Any]) -> float:
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind == "default":
        return 1.0
    if kind != "linear":
        raise ValueError(
            f"Gemma 3 config: expected rope_type 'linear' or 'default', found {kind!r}; use the published encoder"
        )
    return float(_required(rope, "factor"))


def _layer_types(text: Mapping[str, Any]) -> list[str]:
    count = _required(text, "num_hidden_layers")
    pattern = text["sliding_window_pattern"]
    every_nth = ["full_attention" if (i + 1) % pattern == 0 else "sliding_attention" for i in range(count)]
    types: list[str] = list(text.get("layer_types") or every_nth)
    unknown = sorted(set(types) - set(LAYER_TYPES))
    if unknown or len(types) != count:
        raise ValueError(
            f"Gemma 3 config: expected {count} layer_types out of {', '.join(LAYER_TYPES)}, found {len(types)}"
            + (f" with {', '.join(unknown)}" if unknown else "")
            + "; use the published encoder"
        )
    return types


def _required(config: Mapping[str, Any], name: str) -> Any:
    if config.get(name) is None:
        raise ValueError(f"Gemma 3 config: {name} is missing; download the encoder's config.json again")
    return config[name]
