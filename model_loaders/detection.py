"""What a file is, from its header alone: kind, generation, weight format, components (model_files.md section 5).

The file name is never looked at. What a header cannot tell (dev or distilled) is not guessed here.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..given_text import parse_json
from .checkpoint import Checkpoint, CheckpointError, open_checkpoint
from .division import divide, transformer_prefix
from .generations import ANY, of_version, possible
from .gguf.blocks import QUANTISED_TYPES
from .latent_upscaler import DEFAULTS, detect_latent_upscaler
from .safetensors_header import TensorEntry

Entries = Mapping[str, TensorEntry]

LORA = re.compile(
    r"(\.lora_A(\.default)?(\.weight)?|[._]lora[._]down\.weight|\.lora_linear_layer\.down\.weight"
    r"|\.lokr_w1(_a)?|\.hada_w1_a|\.diff|\.diff_b)$"
)
RANKED = re.compile(
    r"(\.lora_A(\.default)?(\.weight)?|[._](lora[._]|lora_linear_layer\.)down\.weight|\.(lokr_w[12]|hada_w1)_b)$"
)
FLOATS = {"BF16": "bf16", "F16": "f16", "F32": "f32", "F64": "f64"}
NARROW = ("F8_E4M3", "F8_E5M2")
NEWER = "2.3 or 2.5"
NEWER_UP_BLOCKS = 9  # of a convolutional video decoder; generation 2 has seven


@dataclass(frozen=True, kw_only=True)
class Detected:
    """kind: `monolith`, `transformer`, `connectors`, `text_projection`, `text_encoder`, `video_vae`, `audio_vae`,
    `vocoder`, `duration_head`, `latent_upsampler`, `lora` or `unsupported`. generation: "2", "2.3", "2.5", two of
    them joined by "or", `any`, `older`, `unknown`. details: what else a kind has (rank, scale, axis, …)."""

    kind: str
    generation: str
    components: tuple[str, ...]
    weight_format: str
    details: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "generation": self.generation,
            "components": list(self.components),
            "weight_format": self.weight_format,
            **self.details,
        }


def detect_file(path: str | os.PathLike[str]) -> Detected:
    """What the file, or the folder with the shards of one model, is; remembered by path, size and time of change.

    Raises CheckpointError, one line, for anything that cannot be opened.
    """
    files = model_files_at(Path(path))
    key = tuple((str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files)
    if key not in _remembered:
        opened = [open_checkpoint(file) for file in files]
        metadata = {name: text for file in opened for name, text in file.metadata.items()}
        _remembered[key] = detect(metadata, {name: entry for file in opened for name, entry in file.entries.items()})
    return _remembered[key]


_remembered: dict[tuple[tuple[str, int, int], ...], Detected] = {}


def model_files_at(path: Path) -> list[Path]:
    """The file itself, or the weights of a folder, in order of their names."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        return [open_checkpoint(path).path]  # says what is wrong with the name
    files = sorted(file for file in path.iterdir() if file.suffix in (".safetensors", ".gguf") and file.is_file())
    if not files:
        raise CheckpointError(f"{path}: expected a .safetensors or .gguf file in the folder, found none")
    return files


def detect_checkpoint(checkpoint: Checkpoint) -> Detected:
    """What an opened file is."""
    return detect(checkpoint.metadata, checkpoint.entries)


def detect(metadata: Mapping[str, str], entries: Entries) -> Detected:
    """From metadata and the table of tensors. Nothing is raised: a header that makes no sense is `unsupported`."""
    if any(LORA.search(name) for name in entries):
        details = _lora_details(metadata, entries)
        return Detected(kind="lora", generation=ANY, components=(), weight_format="lora", details=details)
    weight_format, scaled = _weight_format(entries)
    prefix = transformer_prefix(entries)
    if prefix is not None and f"{prefix}audio_patchify_proj.weight" not in entries:
        return Detected(kind="unsupported", generation="older", components=(), weight_format=weight_format)
    components = divide(entries)
    kind = _kind(components)
    details = {"input_scale": scaled} if scaled is not None else {}
    details |= _details(kind, _config(metadata), metadata, entries)
    return Detected(
        kind=kind,
        generation=_narrowed(_generation(components, _config(metadata), details, entries), metadata),
        components=tuple(sorted(components)),
        weight_format=weight_format,
        details=details,
    )


def _kind(components: Mapping[str, object]) -> str:
    found = set(components)
    if "transformer" in found:
        return "monolith" if found & {"video_vae_decoder", "audio_vae_decoder", "vocoder"} else "transformer"
    for kind in ("text_encoder", "latent_upsampler", "duration_head"):
        if kind in found:
            return kind
    for kind in ("video_vae", "audio_vae", "vocoder", "connectors", "text_projection"):
        if any(component.startswith(kind) for component in found):
            return kind
    return "unsupported"


def _generation(
    components: Mapping[str, Mapping[str, str]], config: Mapping[str, Any], details: Mapping[str, Any], entries: Entries
) -> str:
    """The narrowest answer that any component gives."""
    answers = [
        _of_transformer(components.get("transformer")),
        "2.5" if "duration_head" in components else None,
        _of_encoder(components, details),
        _of_connectors(components.get("connectors"), entries),
        _of_projection(components.get("text_projection")),
        _of_vocoder(components.get("vocoder")),
        _of_video_vae(components.get("video_vae_decoder"), config, details),
    ]
    given = [answer for answer in answers if answer is not None]
    exact = next((answer for answer in given if " or " not in answer), None)
    return exact or next(iter(given), ANY if components else "unknown")


def _narrowed(answer: str, metadata: Mapping[str, str]) -> str:
    """By `model_version`, where tensors leave a choice that it is among."""
    version = of_version(metadata)
    return version if version in possible(answer) and answer != "unknown" else answer


def _of_transformer(keys: Mapping[str, str] | None) -> str | None:
    if keys is None:
        return None
    block = "transformer_blocks.0."
    if "caption_projection.linear_1.weight" in keys or f"{block}attn1.to_gate_logits.weight" not in keys:
        return "2"
    return "2.3" if f"{block}ff.net.0.proj.bias" in keys else "2.5"


def _of_encoder(components: Mapping[str, object], details: Mapping[str, Any]) -> str | None:
    if "text_encoder" not in components:
        return None
    return "2.5" if details.get("gemma") == 4 else "2 or 2.3"


def _of_connectors(keys: Mapping[str, str] | None, entries: Entries) -> str | None:
    registers = (keys or {}).get("audio_connector.learnable_registers")
    if registers is None or len(entries[registers].shape) != 2:
        return None
    return {3840: "2", 2048: NEWER}.get(entries[registers].shape[1])


def _of_projection(keys: Mapping[str, str] | None) -> str | None:
    if keys is None:
        return None
    return NEWER if "feature_extractor.video_aggregate_embed.weight" in keys else "2"


def _of_vocoder(keys: Mapping[str, str] | None) -> str | None:
    if keys is None:
        return None
    return NEWER if any(key.startswith(("vocoder.", "bwe_generator.")) for key in keys) else "2"


def _of_video_vae(keys: Mapping[str, str] | None, config: Mapping[str, Any], details: Mapping[str, Any]) -> str | None:
    if keys is None:
        return None
    if details.get("vae") == "diffusion" or _is_diffusion(keys):
        return "2.5"
    blocks = {key.split(".")[1] for key in keys if key.startswith("up_blocks.")}
    listed = (config.get("vae") or {}).get("decoder_blocks")
    count = len(listed) if isinstance(listed, list) else len(blocks)
    if not count:
        return None
    return NEWER if count >= NEWER_UP_BLOCKS else "2"


def _is_diffusion(keys: Mapping[str, str]) -> bool:
    return any(key.startswith(("det_stages.", "conv_in_x_t.")) for key in keys)


def _details(kind: str, config: Mapping[str, Any], metadata: Mapping[str, str], entries: Entries) -> dict[str, Any]:
    if kind == "video_vae":
        named = (config.get("vae") or {}).get("_class_name")
        diffusion = named == "CausalDiffusionVAE" or any(
            name.startswith(("decoder.det_stages.", "decoder.conv_in_x_t.")) for name in entries
        )
        return {"vae": "diffusion" if diffusion else "conv"}
    if kind == "latent_upsampler":
        return _upscaler_details(config, entries)
    if kind == "text_encoder":
        newer = "gemma4" in metadata.get("gemma_config", "") or "tokenizer_json" in entries
        return {"gemma": 4 if newer or any(name.endswith(".layer_scalar") for name in entries) else 3}
    return {}


def _upscaler_details(config: Mapping[str, Any], entries: Entries) -> dict[str, Any]:
    fields: Mapping[str, Any] = config
    if not config.keys() & DEFAULTS.keys():
        try:
            fields = detect_latent_upscaler({name: entry.shape for name, entry in entries.items()})
        except ValueError:
            return {}
    fields = DEFAULTS | dict(fields)
    if not fields["temporal_upsample"]:
        return {"axis": "spatial", "scale": float(fields["spatial_scale"])}
    return {"axis": "spatiotemporal" if fields["spatial_upsample"] else "temporal", "scale": 2.0}


def _lora_details(metadata: Mapping[str, str], entries: Entries) -> dict[str, Any]:
    ranks = {entry.shape[0] for name, entry in entries.items() if RANKED.search(name) and entry.shape}
    details: dict[str, Any] = {"rank": max(ranks)} if ranks else {}
    if len(ranks) > 1:
        details["smallest_rank"] = min(ranks)
    return details | reference_factors(metadata)


def reference_factors(metadata: Mapping[str, str]) -> dict[str, int]:
    """What an IC-LoRA's metadata says of its reference: integers as texts, sometimes with a decimal point."""
    factors: dict[str, int] = {}
    for name in ("reference_downscale_factor", "reference_temporal_scale_factor"):
        try:
            factors[name] = max(1, round(float(metadata[name])))
        except (KeyError, ValueError, OverflowError):
            continue
    return factors


def hdr_transform(metadata: Mapping[str, str]) -> str | None:
    """The working space that an HDR adapter was trained on, "logc3" or "acescct"; None for any other (media_io.md 5.1).

    Early ones only say that there is one: LogC3.
    """
    named = metadata.get("hdr_transform", metadata.get("use_hdr_transform", "")).strip().lower()
    return "logc3" if named in ("true", "1") else named if named in ("logc3", "acescct") else None


def _weight_format(entries: Entries) -> tuple[str, bool | None]:
    """The most frequent format of the quantised layers, failing that of all tensors; and whether inputs have scales."""
    layers = [name.removesuffix(".weight") for name in entries if name.endswith(".weight")]
    found = Counter(kind for layer in layers if (kind := _layer_format(entries, layer)) is not None)
    if found:
        kind = found.most_common(1)[0][0]
        scaled = any(name.endswith((".input_scale", ".scale_input")) for name in entries)
        return kind, scaled if kind in ("fp8_scaled", "nvfp4") else None
    floats = Counter(FLOATS[entry.dtype] for entry in entries.values() if entry.dtype in FLOATS)
    return (floats.most_common(1)[0][0] if floats else "none"), None


def _layer_format(entries: Entries, layer: str) -> str | None:
    dtype = entries[f"{layer}.weight"].dtype
    scale = entries.get(f"{layer}.weight_scale") or entries.get(f"{layer}.scale_weight")
    if dtype in QUANTISED_TYPES:
        return f"gguf_{dtype.lower()}"
    if dtype == "U8" and f"{layer}.weight_scale_2" in entries:
        return "nvfp4"
    if dtype == "I8":
        return "int8"
    if dtype not in NARROW:
        return None
    if scale is None:
        return "fp8_cast"
    return "mxfp8" if len(scale.shape) == 2 else "fp8_scaled"


def _config(metadata: Mapping[str, str]) -> Mapping[str, Any]:
    """The metadata entry `config`; empty where it is absent or no JSON object: a loader says so, detection goes on."""
    try:
        config = parse_json(metadata.get("config", "{}"))
    except (ValueError, RecursionError):
        return {}
    if not isinstance(config, dict):
        return {}
    return {name: value for name, value in config.items() if isinstance(value, dict) or name in DEFAULTS}
