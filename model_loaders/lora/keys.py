"""Whose weight a tensor of a LoRA file changes: every known spelling, from the model's own names.

Source: quantization.md section 8.1. Names are never split at underscores: `audio_to_video_attn_to_q` cannot be.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from ..checkpoint import CheckpointError

PREFIXES = (
    *("diffusion_model.", "model.diffusion_model.", "transformer.", "base_model.model.", ""),
    *("base_model.model.diffusion_model.", "base_model.model.transformer."),
)
FLAT_PREFIXES = ("lora_unet_", "lycoris_")
UP, DOWN = "up", "down"

SUFFIXES = {
    **{f"{stem}.weight": UP for stem in (".lora_up", ".lora.up", "_lora.up", ".lora_linear_layer.up")},
    **{f"{stem}.weight": DOWN for stem in (".lora_down", ".lora.down", "_lora.down", ".lora_linear_layer.down")},
    **dict.fromkeys((".lora_B.weight", ".lora_B", ".lora_B.default.weight"), UP),
    **dict.fromkeys((".lora_A.weight", ".lora_A", ".lora_A.default.weight"), DOWN),
    **{f".lokr_w{i}{half}": f"lokr_w{i}{half}" for i in (1, 2) for half in ("", "_a", "_b")},
    **{f".hada_w{i}_{half}": f"hada_w{i}_{half}" for i in (1, 2) for half in "ab"},
    **{
        f".{part}": part
        for part in ("alpha", "dora_scale", "diff", "diff_b", "set_weight", "w_norm", "b_norm", "reshape_weight")
    },
}
# Parts without which the rest of a layer would give another result.
UNSUPPORTED = (
    ".lora_mid.weight",
    ".lokr_t2",
    ".hada_t1",
    ".hada_t2",
    ".lora_magnitude_vector",
    ".oft_blocks",
    ".oft_diag",
)

DIFFUSERS = {
    "patchify_proj": "proj_in",
    "audio_patchify_proj": "audio_proj_in",
    "adaln_single": "time_embed",
    "audio_adaln_single": "audio_time_embed",
    "av_ca_video_scale_shift_adaln_single": "av_cross_attn_video_scale_shift",
    "av_ca_a2v_gate_adaln_single": "av_cross_attn_video_a2v_gate",
    "av_ca_audio_scale_shift_adaln_single": "av_cross_attn_audio_scale_shift",
    "av_ca_v2a_gate_adaln_single": "av_cross_attn_audio_v2a_gate",
    "prompt_adaln_single": "prompt_adaln",
    "audio_prompt_adaln_single": "audio_prompt_adaln",
    "q_norm": "norm_q",
    "k_norm": "norm_k",
    "scale_shift_table_a2v_ca_video": "video_a2v_cross_attn_scale_shift_table",
    "scale_shift_table_a2v_ca_audio": "audio_a2v_cross_attn_scale_shift_table",
}
OTHER_COMPONENTS = {
    "embeddings_connector": "text connectors",
    "text_embedding_projection": "text projection",
    "text_encoder": "text encoder",
    "lora_te": "text encoder",
    "language_model": "text encoder",
    "vocoder": "vocoder",
    "audio_vae": "audio VAE",
    "vae.": "video VAE",
}


@dataclass(frozen=True, kw_only=True)
class Matched:
    """layers: {layer of the model: {part of the adapter: name in the file}}; ignored: keys that fit none."""

    layers: dict[str, dict[str, str]]
    ignored: tuple[str, ...]

    @property
    def ignored_by_component(self) -> dict[str, int]:
        return dict(Counter(component_of(name) for name in self.ignored))


def match(
    names: Iterable[str], model_names: Iterable[str], *, spell: Callable[[str], Iterator[str]] | None = None
) -> Matched:
    """names: of the file; model_names: parameters of the network, without prefix; spell: what files call a layer.

    Raises CheckpointError, without a path, for a part of an adapter that is not implemented, where its layer exists.
    """
    table = {spelling: layer for layer in _layers(model_names) for spelling in (spell or spellings)(layer)}
    layers: dict[str, dict[str, str]] = {}
    ignored: list[str] = []
    for name in names:
        stem, part = split_suffix(name)
        layer = table.get(stem)
        if layer is None:
            ignored.append(name)
        elif part in UNSUPPORTED:
            raise CheckpointError(f"{name}: adapters with {part[1:]} are not supported; use another LoRA")
        else:
            layers.setdefault(layer, {})[part] = name
    return Matched(layers=layers, ignored=tuple(ignored))


def spellings(layer: str) -> Iterator[str]:
    """Everything that files call a layer."""
    diffusers = ".".join(DIFFUSERS.get(piece, piece) for piece in layer.split("."))
    for name in dict.fromkeys((layer, diffusers)):
        yield from (prefix + name for prefix in PREFIXES)
        yield from (prefix + name.replace(".", "_") for prefix in FLAT_PREFIXES)


def split_suffix(name: str) -> tuple[str, str]:
    """(the layer's name in the file, part of its adapter); the part is empty for a name that is no adapter's."""
    for unsupported in UNSUPPORTED:
        stem = name.removesuffix(".weight") if unsupported.endswith("vector") else name
        if stem.endswith(unsupported):
            return stem.removesuffix(unsupported), unsupported
    for suffix, part in SUFFIXES.items():
        if name.endswith(suffix):
            return name.removesuffix(suffix), part
    return name, ""


def component_of(name: str) -> str:
    """What part of a model a key that fits no layer was meant for."""
    for mark, component in OTHER_COMPONENTS.items():
        if mark in name:
            return component
    return "transformer"


def _layers(model_names: Iterable[str]) -> Iterator[str]:
    """Names without `.weight` and `.bias`: once or twice each."""
    for name in model_names:
        yield name.removesuffix(".weight").removesuffix(".bias")
