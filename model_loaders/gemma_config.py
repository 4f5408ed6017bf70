"""Hugging Face configuration of a Gemma text decoder → GemmaConfig (text.md sections 3.1 and 4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
GEMMA3_SUPPORTED: dict[str, tuple[Any, ...]] = {
    "attention_bias": (False,),
    "attn_logit_softcapping": (None,),
    "final_logit_softcapping": (None,),
    "hidden_activation": ("gelu_pytorch_tanh",),
}
GEMMA4_DEFAULTS: dict[str, Any] = {
    "rms_norm_eps": 1e-6,
    "attention_bias": False,
    "attention_k_eq_v": False,
    "enable_moe_block": False,
    "final_logit_softcapping": None,
    "hidden_activation": "gelu_pytorch_tanh",
    "hidden_size_per_layer_input": 0,
    "num_kv_shared_layers": 0,
    "use_bidirectional_attention": None,
    "use_double_wide_mlp": False,
}
# The small Gemma 4 models have some of the others, and cannot encode for LTX.
GEMMA4_SUPPORTED: dict[str, tuple[Any, ...]] = {
    "attention_bias": (False,),
    "enable_moe_block": (False,),
    "hidden_activation": ("gelu_pytorch_tanh",),
    "hidden_size_per_layer_input": (0, None),
    "num_kv_shared_layers": (0,),
    "use_bidirectional_attention": (None, "vision"),  # "vision" concerns image tokens only
    "use_double_wide_mlp": (False,),
}
LAYER_TYPES = ("sliding_attention", "full_attention")


def gemma3_config(config: Mapping[str, Any]) -> GemmaConfig:
    """config: a whole `config.json` or its `text_config`, older or newer style.

    Raises ValueError, one line, for a missing field without a default and for values that the network does not have.
    """
    text = {**GEMMA3_DEFAULTS, **config.get("text_config", config)}
    _refuse_unsupported(text, GEMMA3_SUPPORTED)
    pattern, count = text["sliding_window_pattern"], _required(text, "num_hidden_layers")
    every_nth = ["full_attention" if (i + 1) % pattern == 0 else "sliding_attention" for i in range(count)]
    return _decoder(text, _gemma3_layer, _layer_types(text, every_nth))


def gemma4_config(config: Mapping[str, Any]) -> GemmaConfig:
    """config: a whole `config.json` (or the metadata entry `gemma_config`) or its `text_config`.

    Raises ValueError, one line, for a missing field without a default and for values that the network does not have.
    """
    text = {**GEMMA4_DEFAULTS, **config.get("text_config", config)}
    _refuse_unsupported(text, GEMMA4_SUPPORTED)
    return _decoder(text, _gemma4_layer, _layer_types(text, _required(text, "layer_types")))


def _decoder(
    text: Mapping[str, Any], layer: Callable[[Mapping[str, Any], str], LayerConfig], types: list[str]
) -> GemmaConfig:
    by_type = {kind: layer(text, kind) for kind in sorted(set(types))}
    return GemmaConfig(
        vocab_size=_required(text, "vocab_size"),
        hidden_size=_required(text, "hidden_size"),
        intermediate_size=_required(text, "intermediate_size"),
        rms_norm_eps=text["rms_norm_eps"],
        layers=tuple(by_type[kind] for kind in types),
        logit_cap=text["final_logit_softcapping"],
    )


def _gemma4_layer(text: Mapping[str, Any], kind: str) -> LayerConfig:
    rope = _required(text, "rope_parameters").get(kind) or {}
    common = {
        "num_heads": _required(text, "num_attention_heads"),
        "scale": 1.0,  # queries and keys have learned norms
        "rope_theta": float(_required(rope, "rope_theta")),
    }
    if kind == "sliding_attention":
        _expect_rope_type(rope, "default")
        return LayerConfig(
            **common,
            num_kv_heads=_required(text, "num_key_value_heads"),
            head_dim=_required(text, "head_dim"),
            window=_required(text, "sliding_window"),
        )
    _expect_rope_type(rope, "proportional")
    head_dim, shared = _required(text, "global_head_dim"), bool(text["attention_k_eq_v"])
    return LayerConfig(
        **common,
        num_kv_heads=_required(text, "num_global_key_value_heads" if shared else "num_key_value_heads"),
        head_dim=head_dim,
        window=None,
        rotated_pairs=int(_required(rope, "partial_rotary_factor") * head_dim / 2),
        values_are_keys=shared,
    )


def _gemma3_layer(text: Mapping[str, Any], kind: str) -> LayerConfig:
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
    if _rope_type(rope) == "default":
        return 1.0
    _expect_rope_type(rope, "linear")
    return float(_required(rope, "factor"))


def _rope_type(rope: Mapping[str, Any]) -> str:
    return str(rope.get("rope_type", rope.get("type", "default")))


def _expect_rope_type(rope: Mapping[str, Any], expected: str) -> None:
    if _rope_type(rope) != expected:
        raise ValueError(
            f"Gemma config: expected rope_type {expected!r}, found {_rope_type(rope)!r}; use the published encoder"
        )


def _layer_types(text: Mapping[str, Any], default: list[str]) -> list[str]:
    count = _required(text, "num_hidden_layers")
    types: list[str] = list(text.get("layer_types") or default)
    unknown = sorted(set(types) - set(LAYER_TYPES))
    if unknown or len(types) != count:
        raise ValueError(
            f"Gemma config: expected {count} layer_types out of {', '.join(LAYER_TYPES)}, found {len(types)}"
            + (f" with {', '.join(unknown)}" if unknown else "")
            + "; use the published encoder"
        )
    return types


def _refuse_unsupported(text: Mapping[str, Any], supported: Mapping[str, tuple[Any, ...]]) -> None:
    for name, values in supported.items():
        if text[name] not in values:
            raise ValueError(
                f"Gemma config: expected {name} {values[0]!r}, found {text[name]!r}; use the published encoder"
            )


def _required(config: Mapping[str, Any], name: str) -> Any:
    if config.get(name) is None:
        raise ValueError(f"Gemma config: {name} is missing; download the encoder's config.json again")
    return config[name]
