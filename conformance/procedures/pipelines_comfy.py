"""Golden cases of the area `pipelines`: what ComfyUI's core and its LTX node pack do (preset `community`)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ...model_loaders.checkpoint import open_checkpoint
from ...model_loaders.transformer import load_transformer
from ...networks.transformer import Transformer
from ...nodes.predictor import Texts, predictor
from ...samplers.community import (
    ChannelApg,
    CommunityDenoiser,
    CommunityLatent,
    SpatialPlan,
    blend_curve,
    community_latent,
    community_noised,
    community_states,
    curve_in_pixels,
    dilate_guide,
    grow_mask,
    inpaint_clip,
    latent_mask_frames,
    spatial_weights,
)
from ...samplers.conditioning import apply_items
from ...samplers.guidance import Guidance, Predictions, guide
from ...samplers.long_video import (
    Loop,
    LoopCall,
    Target,
    TileFrame,
    cross_fade,
    normalise_statistics,
    sample_looping,
    tile_of_image,
    tile_seed,
    transfer_statistics,
)
from ...samplers.shapes import VideoGrid
from ...samplers.state import StreamState, end_stage, video_state
from ...samplers.steps import sample_cfgpp, sample_euler, sample_gradient_estimation
from ...samplers.streams import Streams
from ...samplers.tokens import patchify_audio, patchify_video, unpatchify_video
from ..case import Case
from ..registry import procedure

GUIDES = {"guide8": 1.0, "iclora_half": 1.0, "guides_att0.5": 0.5}  # attention strength of the core cases' guides


@procedure("interop.comfyui_core")
def comfyui_core(case: Case) -> dict[str, Tensor]:
    transformer = _transformer(case)
    outputs: dict[str, Tensor] = {}
    for row in case.call["cases"]:
        done = _core_run(case, transformer, row)
        for stream, latent in zip(("video", "audio"), done.present(), strict=True):
            outputs[f"{row['name']}_{stream}"] = latent
    return outputs


def _core_run(case: Case, transformer: Transformer, row: dict[str, Any]) -> Streams[Tensor]:
    inputs, name, scale = case.inputs, row["name"], row["cfg"]
    container = _core_latent(case, row)
    community = community_states(container)
    sigmas = inputs[f"sigmas_{row['sigmas']}"]
    video_noise = inputs["noise_video"]
    if row["guide_latent_frames"]:
        guides = inputs["extra_noise_video"][:, :, : row["guide_latent_frames"]]
        video_noise = torch.cat([video_noise, guides], dim=2)
    noise = community.tokens(Streams(video=video_noise, audio=inputs["noise_audio"]))
    states = community.states.map(lambda state, drawn: community_noised(state, drawn, sigmas[0]), noise)
    texts = Texts(positive=_contexts(case, transformer, "pos"), negative=_contexts(case, transformer, "neg"))
    denoise = CommunityDenoiser(
        states,
        states.map(lambda _: Guidance(cfg=scale)),
        predictor(transformer, texts, community.seen),
        kept=community.kept,
        negative=Streams(video=True, audio=True),
        unconditioned=row["sampler"] == "euler_cfg_pp",
    )
    start = states.map(lambda state: state.latent)
    rules: dict[str, Callable[[], Streams[Tensor]]] = {
        "euler": lambda: sample_euler(denoise, start, sigmas),
        "gradient_estimation": lambda: sample_gradient_estimation(denoise, start, sigmas),
        "euler_cfg_pp": lambda: sample_cfgpp(denoise, start, sigmas, draw=lambda latents: latents, eta=0.0),
    }
    assert row["sampler"] in rules, name
    return community.samples(rules[row["sampler"]]())


def _core_latent(case: Case, row: dict[str, Any]) -> CommunityLatent:
    inputs, name = case.inputs, row["name"]

    def both(kind: str) -> Streams[Tensor]:
        return Streams(video=inputs.get(f"{name}_{kind}_video"), audio=inputs.get(f"{name}_{kind}_audio"))

    samples, options = both("start"), {"frame_rate": case.call["fps"]}
    assert samples.video is not None
    if f"{name}_keyframe_idxs" in inputs:
        options["keyframe_idxs"] = inputs[f"{name}_keyframe_idxs"]
    if GUIDES.get(name, 1.0) != 1.0:
        shape = (1, *samples.video.shape[3:])
        entry = {"pre_filter_count": shape[1] * shape[2], "strength": GUIDES[name], "latent_shape": shape}
        options["guide_attention_entries"] = [entry] * row["guide_latent_frames"]
    if name == "ref_audio":
        options["ref_audio"] = {"tokens": patchify_audio(inputs["reference_audio"])}
    return community_latent(samples, both("noise_mask"), options)


@procedure("pipeline.looping")
def looping(case: Case) -> dict[str, Tensor]:
    args, transformer = case.call["args"], _transformer(case)
    spatial = SpatialPlan(
        rows=args["vertical_tiles"], columns=args["horizontal_tiles"], overlap=args["spatial_overlap"]
    )
    loop = Loop(
        tile=args["temporal_tile_size"],
        overlap=args["temporal_overlap"],
        overlap_strength=args["temporal_overlap_cond_strength"],
        guide_strength=args["guiding_strength"],
        statistics=args["adain_factor"],
        spatial=spatial,
        context=case.inputs["negative_index_latents"] if case.call["negative_index"] else None,
        seed=case.call["calls"][0]["seed_used"],
    )
    seeds = {row["seed_used"]: row["call"] for row in case.call["calls"]}

    def sample(call: LoopCall) -> Tensor:
        return loop_run(case, transformer, call, seeds[call.seed])

    return {"latents": sample_looping(case.inputs["latents"], loop, sample)}


def loop_run(case: Case, transformer: Transformer, call: LoopCall, index: int) -> Tensor:
    """One sampler call: Euler, no guidance, ComfyUI's mask rule."""
    noise, sigmas = case.inputs[f"call{index}_noise"], case.inputs["sigmas"]
    state = apply_items(video_state(call.latent, case.call["fps"]), call.items)
    state = community_noised(state, patchify_video(noise), sigmas[0])
    states: Streams[StreamState] = Streams(video=state)
    contexts = Streams(video=_contexts(case, transformer, "pos").video)
    denoise = CommunityDenoiser(
        states, Streams(video=Guidance()), predictor(transformer, Texts(positive=contexts), states)
    )
    done = sample_euler(denoise, Streams(video=state.latent), sigmas).video
    assert done is not None
    return end_stage(replace(state, latent=done)).latent


@procedure("pipeline.node_pieces")
def node_pieces(case: Case) -> dict[str, Tensor]:
    return _statistics(case) | _joins_and_tiles(case) | _masks(case) | _guidance(case)


def _statistics(case: Case) -> dict[str, Tensor]:
    x, reference = case.inputs["x"], case.inputs["reference"]
    outputs = {}
    for name in case.output_names:
        if match := re.fullmatch(r"adain_f([\d.]+)_perframe([01])", name):
            outputs[name] = transfer_statistics(x, reference, float(match[1]), per_frame=match[2] == "1")
    for index, (mean, std, percentile, factor, clip) in enumerate(case.call["statnorm"]):
        target = Target(mean=mean, std=std, percentile=percentile, clip_outliers=clip)
        outputs[f"statnorm{index}"] = normalise_statistics(x, target, factor)
    return outputs


def _joins_and_tiles(case: Case) -> dict[str, Tensor]:
    call, outputs = case.call, {}
    for overlap in (1, 2, 3):
        outputs[f"linear_overlap{overlap}"] = cross_fade(case.inputs["seq_a"], case.inputs["seq_b"], overlap)
    for index, row in enumerate(call["keyframe_tiles"]):
        loop = Loop(tile=row["tile"], overlap=row["overlap"])
        places = [tile_of_image(frame, loop, row["frames"]) or TileFrame(-1, -1) for frame in row["indices"]]
        outputs[f"keyframe_tiles{index}_tile_index"] = torch.tensor(places)
    rows, columns = call["seed_args"]["vertical_tiles"], call["seed_args"]["horizontal_tiles"]
    seeds = [
        (
            first,
            start,
            v,
            h,
            offset,
            tile_seed(first, start, rows=rows, columns=columns, row=v, column=h, offset=offset),
        )
        for first in (call["seed_args"]["first_seed"],)
        for start in (0, 7, 14)
        for v in (0, 1)
        for h in (0, 2)
        for offset in (0, 5)
    ]
    outputs["tile_seeds_first_start_v_h_offset_seed"] = torch.tensor(seeds)
    weights, hard = call["spatial_weights"], call["overlap1"]
    plan = SpatialPlan(rows=weights["tiles"][0], columns=weights["tiles"][1], overlap=weights["overlap"])
    height, width = weights["shape_HW"]
    for v, h in ((0, 0), (0, 1), (1, 1)):
        outputs[f"spatial_weights_v{v}_h{h}"] = spatial_weights(height, width, v, h, plan)
    cut = SpatialPlan(rows=hard["vertical_tiles"], columns=hard["horizontal_tiles"], overlap=1)
    height, width = hard["shape_HW"]
    return outputs | {"spatial_weights_overlap1": spatial_weights(height, width, hard["v"], hard["h"], cut)}


def _masks(case: Case) -> dict[str, Tensor]:
    mask, call, outputs = case.inputs["mask"], case.call["preprocess_masks"], {}
    for reduction in ("max", "mean", "min"):
        outputs[f"preprocess_masks_{reduction}"] = latent_mask_frames(
            mask, reduction, limits=tuple(call["clamp"]), ignore_first=call["ignore_first"]
        )
    blend = case.call["blend"]
    curve = blend_curve(blend["start"], blend["end"], blend["count"], blend["slope"])
    return outputs | {
        "blend_latent": curve,
        "blend_pixel": curve_in_pixels(curve),
        "dilate_mask_h3_v2": dilate_guide(case.inputs["pos"][:, :, :1], rows=2, columns=3)[1],
        "dilate_video_mask_s2_t1": grow_mask(mask, 2, 1),
        "inpaint_preprocess": inpaint_clip(case.inputs["images"], mask),
    }


def _guidance(case: Case) -> dict[str, Tensor]:
    """On tokens, as everywhere here; the pieces' own layout is that of latents."""
    c, u, p = (patchify_video(case.inputs[name]) for name in ("pos", "neg", "ptb"))
    predictions = Predictions(conditioned=c, unconditioned=u, perturbed=p)
    cfg, stg, rescale = case.call["stg"]
    apg = case.call["apg"]
    rule = ChannelApg(eta=apg["eta"], threshold=apg["threshold"])
    guided = {
        "stg_rescale": guide(predictions, Guidance(cfg=cfg, stg=stg, rescale=rescale))[0],
        "apg": guide(predictions, Guidance(cfg=apg["scale"], text_rule=rule))[0],
    }
    grid = VideoGrid(*case.inputs["pos"].shape[2:])
    return {name: unpatchify_video(tokens, grid) for name, tokens in guided.items()}


def _transformer(case: Case) -> Transformer:
    checkpoint = open_checkpoint(case.sibling(case.call["checkpoint"]))
    return load_transformer(checkpoint).to(case.device, case.dtype)


def _contexts(case: Case, transformer: Transformer, sign: str) -> Streams[Tensor]:
    """`context_*`, the two contexts side by side."""
    _, video = next(transformer.config.streams())
    both = case.inputs[f"context_{sign}"]
    return Streams(video=both[..., : video.width], audio=both[..., video.width :])
