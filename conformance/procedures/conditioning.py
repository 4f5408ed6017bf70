"""Golden cases of the area `conditioning`: items on states, image preparation."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor

from ...media.images import prepare_clip
from ...media.resize import aligned_down, aligned_up, fill_and_crop, fit_and_pad, frames_first, to_long_side
from ...networks.transformer.masks import strength_bias
from ...samplers.conditioning import (
    ConditioningItem,
    GivenStream,
    InpaintMask,
    Keyframe,
    KeyframeSlots,
    LatentReplacement,
    ReferenceAudio,
    ReferenceFactors,
    ReferenceVideo,
    TemporalRegions,
    apply_items,
    mask_strength,
    reference_frames,
)
from ...samplers.shapes import VideoGrid
from ...samplers.state import StreamState, audio_state, end_stage, noised, video_state
from ..case import Case
from ..registry import procedure

LOWEST_STORED_BIAS = -1e30


@procedure("conditioning.latent_index,keyframe")
@procedure("conditioning.keyframe_slots")
@procedure("conditioning.ic_lora_reference,attention_strength")
def video_items(case: Case) -> dict[str, Tensor]:
    outputs: dict[str, Tensor] = {}
    for row in case.call["cases"]:
        if "items" in row:
            state = apply_items(_video_start(case, row), [_item(case, i) for i in row["items"]], slots_supported=True)
            outputs |= _state_outputs(case, row["name"], state)
        else:
            mask = case.inputs[row["name"]]
            outputs[f"{row['name']}_tokens"] = mask_strength(mask, VideoGrid(*row["latent_FHW"]))
    return outputs | _attention_outputs(case)


@procedure("conditioning.mask,temporal_region")
def masks_and_regions(case: Case) -> dict[str, Tensor]:
    outputs: dict[str, Tensor] = {}
    for row in case.call["mask_cases"]:
        keep = case.inputs["soft_mask" if "soft" in row["name"] else "binary_mask"]
        inpaint = InpaintMask(source=case.inputs["source_latent"], keep=keep, strength=row["strength"])
        state = apply_items(_video_start(case, {"initial_latent": True}), [inpaint])
        outputs |= _state_outputs(case, row["name"], state)
    sound = audio_state(torch.zeros(case.call["audio_shape_BCTF"], device=case.device))
    for index, (start, end) in enumerate(case.call["regions_seconds"]):
        item = TemporalRegions(regions=((start, end),))
        outputs[f"region{index}_video_mask"] = apply_items(_video_start(case, {}), [item]).mask
        outputs[f"region{index}_audio_mask"] = apply_items(sound, [item]).mask
    return outputs


@procedure("conditioning.reference_audio,frozen_audio")
def audio_items(case: Case) -> dict[str, Tensor]:
    i = case.inputs
    outputs: dict[str, Tensor] = {}
    empty = audio_state(torch.zeros(case.call["target_shape_BCTF"], device=case.device))
    for strength in case.call["strengths"]:
        item = ReferenceAudio(latent=i["reference_latent"], strength=strength)
        outputs |= _state_outputs(case, f"refaudio_s{strength}", apply_items(empty, [item]))
    frozen = noised(apply_items(empty, [GivenStream(latent=i["frozen_latent"])]), i["frozen_noise"], 1.0)
    sigma = case.call["query_sigma"]
    return outputs | {
        "frozen_latent": frozen.latent,
        "frozen_clean_latent": frozen.clean,
        "frozen_denoise_mask": frozen.mask,
        "frozen_positions": frozen.positions,
        "frozen_timesteps": frozen.mask * sigma,
        "frozen_sigma": torch.full((1,), 0.0 if frozen.frozen else sigma),
    }


def _video_start(case: Case, row: dict[str, Any]) -> StreamState:
    call = case.call
    given = case.inputs["initial_latent"] if row.get("initial_latent") else None
    latent = torch.zeros(call["target_shape_BCFHW"], device=case.device) if given is None else given
    return video_state(latent, call["fps"])


def _item(case: Case, row: dict[str, Any]) -> ConditioningItem:
    if row["type"] == "slots":
        seeds = case.inputs[row["initial"]] if "initial" in row else None
        return KeyframeSlots(positions=tuple(row["frames"]), seeds=seeds)
    latent, strength = _latent(case, row["latent"]), row.get("strength", 1.0)
    if row["type"] == "latent_index":
        return LatentReplacement(latent=latent, latent_frame=row["latent_idx"], strength=strength)
    attention = row.get("attention")
    attention = case.inputs[attention] if isinstance(attention, str) else 1.0 if attention is None else attention
    if row["type"] == "keyframe":
        span = row.get("num_pixel_frames", 1)
        return Keyframe(
            latent=latent, frame=row["frame_idx"], strength=strength, pixel_frames=span, attention=attention
        )
    assert row["type"] == "reference", row
    factors = ReferenceFactors(space=row.get("downscale", 1), time=row.get("temporal_scale", 1))
    return ReferenceVideo(latent=latent, factors=factors, strength=strength, attention=attention)


def _latent(case: Case, name: str) -> Tensor:
    """An input by its name; `name[:,:,:1]` is its first frame."""
    whole = case.inputs[name.removesuffix("[:,:,:1]")]
    return whole[:, :, :1] if name.endswith("[:,:,:1]") else whole


def _state_outputs(case: Case, name: str, state: StreamState) -> dict[str, Tensor]:
    """The state before noise, with noise at every level asked for, and the latents that the stage would leave."""
    outputs = {
        f"{name}_latent": state.latent,
        f"{name}_clean_latent": state.clean,
        f"{name}_denoise_mask": state.mask,
        f"{name}_positions": state.positions,
    }
    if state.keyframe_marks is not None:
        outputs[f"{name}_keyframes_mask"] = state.keyframe_marks
    if state.attention is not None:
        outputs[f"{name}_attention_mask"] = state.attention.dense()
    levels = [match[1] for out in case.output_names if (match := re.fullmatch(f"{re.escape(name)}_noised_(.+)", out))]
    for level in sorted(levels, key=float):  # cleared: from level 1 where there are several
        with_noise = noised(state, case.inputs[f"{name}_noise"], float(level))
        outputs[f"{name}_noised_{level}"] = with_noise.latent
        outputs[f"{name}_cleared_latent"], slots = end_stage(with_noise)
        if slots is not None:
            outputs[f"{name}_generated_keyframes"] = slots
    return outputs


def _attention_outputs(case: Case) -> dict[str, Tensor]:
    outputs = {}
    if "mask01" in case.inputs:
        bias = strength_bias(case.inputs["mask01"], torch.float32)
        assert isinstance(bias, Tensor)
        outputs["mask01_log_bias"] = bias.clamp(min=LOWEST_STORED_BIAS)
    for name in case.output_names:
        if match := re.fullmatch(r"temporal_subsample_(\d+)_of_(\d+)", name):
            outputs[name] = reference_frames(int(match[2]), ReferenceFactors(time=int(match[1]))).float()
    return outputs


@procedure("conditioning.image_preprocess")
def image_preparation(case: Case) -> dict[str, Tensor]:
    call, outputs = case.call, {}
    for row in call["cases"]:
        name, height, width = row["name"], row["height"], row["width"]
        outputs[f"{name}_crop"] = prepare_clip(case.inputs[name][None], height, width)
        outputs[f"{name}_reflect"] = frames_first(fit_and_pad(case.inputs[name][None], height, width))
    frames = case.inputs["frames"]
    outputs["frames_crop"] = frames_first(fill_and_crop(frames, *call["frames_crop"]))
    outputs["frames_long_side_13"] = to_long_side(frames, 13)
    return outputs | {
        "align_reflect_gw_gh_cw_ch": torch.tensor([[*aligned_up(w, h, d), w, h] for w, h, d in call["align_w_h_div"]]),
        "align_crop_gw_gh_cw_ch": torch.tensor([[*aligned_down(w, h, d), w, h] for w, h, d in call["align_w_h_div"]]),
    }
