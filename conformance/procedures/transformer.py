"""Golden cases of the audio-video transformer."""

from __future__ import annotations

from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from ...model_loaders.assemble import assign, build_on_meta, strip_prefix
from ...model_loaders.transformer import load_transformer
from ...networks.transformer import Perturbation, RopeConfig, Stream
from ...networks.transformer.config import Modality
from ...networks.transformer.modulation import AdaLayerNormSingle, sinusoids
from ...networks.transformer.rope import RopeTable, rope_table, rotate
from ...samplers.conversions import x0_from_velocity
from ...samplers.shapes import AudioRate, ScaleFactors, VideoGrid, audio_latent_frames
from ...samplers.tokens import audio_positions, first_frame_marks, patchify_audio, patchify_video, video_positions
from ..case import Case
from ..registry import procedure

MODEL_DTYPE_INPUTS = ("latent", "context", "attention_mask", "keyframes_mask")
EMBEDDERS = (
    "adaln_single",
    "prompt_adaln_single",
    "av_ca_video_scale_shift_adaln_single",
    "av_ca_a2v_gate_adaln_single",
)
# (pixel frames, fps) whose audio lengths `tokens_and_positions` pins; the case carries them only in its output.
DURATIONS = ((1, 24), (25, 24), (89, 24), (97, 25), (121, 24), (121, 25), (121, 30), (241, 24), (257, 30))


@procedure("transformer", "forward")
def forward(case: Case) -> dict[str, Tensor]:
    transformer = load_transformer(case.checkpoint).to(case.device, case.dtype)
    video, audio = (_stream(case, name) for name in ("video", "audio"))
    velocities = transformer(video, audio, perturbations=_perturbations(case.call["perturbations"]))
    outputs = {}
    for name, stream, velocity in zip(("video", "audio"), (video, audio), velocities, strict=True):
        if stream is not None and velocity is not None:
            outputs[f"{name}_velocity"] = velocity
            outputs[f"{name}_x0"] = x0_from_velocity(stream.latent, velocity, stream.timesteps)
    return outputs


def _stream(case: Case, name: Modality) -> Stream | None:
    call = case.call[name]
    if call is None:
        return None
    inputs: dict[str, Any] = {
        key.removeprefix(f"{name}_"): value for key, value in case.inputs.items() if key.startswith(f"{name}_")
    }
    for key in MODEL_DTYPE_INPUTS:
        if key in inputs:
            inputs[key] = inputs[key].to(case.dtype)
    return Stream(**inputs, enabled=call["enabled"])


def _perturbations(call: list[list[dict[str, Any]]] | None) -> list[list[Perturbation]] | None:
    if call is None:
        return None
    return [
        [
            Perturbation(type=row["type"], blocks=None if row["blocks"] is None else frozenset(row["blocks"]))
            for row in sample
        ]
        for sample in call
    ]


@procedure("transformer", "rope")
def rope(case: Case) -> dict[str, Tensor]:
    if "cross_dim" in case.call:
        return _published_tables(case)
    outputs: dict[str, Tensor] = {}
    for suffix, float64_grid in (("f64", True), ("f32", False)):
        for name in ("video", "audio"):
            outputs |= _named(_table(case, name, float64_grid=float64_grid), name, f"_{suffix}")
    outputs |= _named(_table(case, "video", middle=False), "video", "_f64_start")
    heads = case.call["heads"]
    rotated = rotate(case.inputs["x"], _table(case, "video"), heads=heads)
    return outputs | {"x_rotated": rearrange(rotated, "B H T w -> B T (H w)")}


def _published_tables(case: Case) -> dict[str, Tensor]:
    outputs: dict[str, Tensor] = {}
    for name in ("video", "audio"):
        outputs |= _named(_table(case, name), name)
        cross = rope_table(
            case.inputs[f"{name}_positions"][:, :1],
            width=case.call["cross_dim"],
            heads=case.call["heads"],
            max_pos=[case.call["cross_max_pos"]],
            rope=RopeConfig(theta=case.call["theta"]),
        )
        outputs |= _named(cross, f"{name}_cross")
    return outputs


def _table(case: Case, name: str, *, float64_grid: bool = True, middle: bool = True) -> RopeTable:
    return rope_table(
        case.inputs[f"{name}_positions"],
        width=case.call[f"{name}_dim"],
        heads=case.call["heads"],
        max_pos=case.call["max_pos" if name == "video" else "audio_max_pos"],
        rope=RopeConfig(
            theta=case.call["theta"], interleaved=case.call["rope_type"] == "interleaved", float64_grid=float64_grid
        ),
        middle=middle,
    )


def _named(table: RopeTable, name: str, suffix: str = "") -> dict[str, Tensor]:
    return {f"{name}_cos{suffix}": table.cos, f"{name}_sin{suffix}": table.sin}


@procedure("transformer", "timestep_embedding")
def timestep_embedding(case: Case) -> dict[str, Tensor]:
    timesteps = case.inputs["scaled_timesteps"]
    outputs = {"sinusoid": sinusoids(timesteps)}
    for name in EMBEDDERS:
        rows, embedded = _embedder(case, name)(timesteps, torch.float32)
        outputs[f"{name}_mod"] = rearrange(rows, "U R D -> U (R D)")
        outputs[f"{name}_embedded"] = embedded
    return outputs


def _embedder(case: Case, name: str) -> AdaLayerNormSingle:
    keys = strip_prefix(case.checkpoint.entries, f"model.diffusion_model.{name}.")
    out_features, width = case.checkpoint.shapes[keys["linear.weight"]]
    network = build_on_meta(lambda: AdaLayerNormSingle(width, out_features // width))
    tensors = case.checkpoint.load(list(keys.values()))
    return assign(network, {parameter: tensors[key] for parameter, key in keys.items()}).to(case.device)


@procedure("transformer", "tokens_and_positions")
def tokens_and_positions(case: Case) -> dict[str, Tensor]:
    call, grid = case.call, VideoGrid(*case.call["latent_grid"])
    scale = ScaleFactors(time=call["temporal_scale"], space=call["spatial_scale"])
    rate = AudioRate(
        sample_rate=call["audio_sample_rate"], hop=call["audio_hop_length"], factor=call["audio_downsample"]
    )
    lengths = [(frames, fps, audio_latent_frames(frames, fps, rate=rate)) for frames, fps in DURATIONS]
    outputs = {
        "video_tokens": patchify_video(case.inputs["video_latent"]),
        "audio_tokens": patchify_audio(case.inputs["audio_latent"]),
        "audio_positions": audio_positions(call["audio_tokens"], rate=rate),
        "audio_positions_shift3": audio_positions(call["audio_tokens"], shift=3, rate=rate),
        "first_frame_keyframes_mask": first_frame_marks(grid),
        "audio_lengths": torch.tensor(lengths, dtype=torch.float32),
    }
    return outputs | {f"video_positions_fps{fps:g}": video_positions(grid, fps, scale=scale) for fps in call["fps"]}
