"""One state dict under the published names → the names of other libraries. Values never change."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from torch import Tensor

State = Mapping[str, Tensor]
Rules = Sequence[tuple[str, str]]  # regular expression, replacement; all are applied, in their order

DIFFUSERS_TRANSFORMER: Rules = (
    (r"patchify_proj", "proj_in"),
    (r"av_ca_(video|audio)_scale_shift_adaln_single", r"av_cross_attn_\1_scale_shift"),
    (r"av_ca_a2v_gate_adaln_single", "av_cross_attn_video_a2v_gate"),
    (r"av_ca_v2a_gate_adaln_single", "av_cross_attn_audio_v2a_gate"),
    (r"scale_shift_table_a2v_ca_(video|audio)", r"\1_a2v_cross_attn_scale_shift_table"),
    (r"prompt_adaln_single", "prompt_adaln"),
    (r"adaln_single", "time_embed"),
    (r"\b([qk])_norm\b", r"norm_\1"),
)
DIFFUSERS_VOCODER: Rules = (
    (r"conv_pre", "conv_in"),
    (r"conv_post", "conv_out"),
    (r"act_post", "act_out"),
    (r"\bups\b", "upsamplers"),
    (r"resblocks", "resnets"),
    (r"downsample\.lowpass", "downsample"),
)


def renamed(state: State, rules: Rules) -> dict[str, Tensor]:
    return {rename(name, rules): tensor for name, tensor in state.items()}


def diffusers_video_vae(state: State) -> dict[str, Tensor]:
    """Our flat block lists (blocks at even, resamplers at odd places) as stages with a middle block."""
    last = max((int(name.split(".")[2]) for name in state if name.startswith("encoder.down_blocks")), default=0)
    return {_stage_name(name, last): tensor for name, tensor in state.items() if "statistics" not in name}


def half(state: State, part: str) -> dict[str, Tensor]:
    """`encoder.` or `decoder.` of a video VAE, with the statistics that both own."""
    own = {name.removeprefix(part): tensor for name, tensor in state.items() if name.startswith(part)}
    return own | {name: tensor for name, tensor in state.items() if name.startswith("per_channel_statistics.")}


def _stage_name(name: str, last: int) -> str:
    found = re.match(r"(encoder\.down|decoder\.up)_blocks\.(\d+)\.(res_blocks|conv)\.(.*)", name)
    if found is None:
        return name
    half, place, rest = found[1], int(found[2]), found[4]
    encoder = half.startswith("encoder")
    middle, sampler = (last, "downsamplers") if encoder else (0, "upsamplers")
    if place == middle:
        return f"{half.split('.')[0]}.mid_block.resnets.{rest}"
    if found[3] == "conv":
        return f"{half}_blocks.{place // 2}.{sampler}.0.conv.{rest}"
    return f"{half}_blocks.{place // 2 - (0 if encoder else 1)}.resnets.{rest}"


def rename(name: str, rules: Rules) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name
