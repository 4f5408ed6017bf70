"""Golden cases of the area `pipelines`: tiles of a model call, and where fidelity rendering cuts a clip."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...media.images import prepare_image
from ...model_loaders.checkpoint import Checkpoint, open_checkpoint
from ...model_loaders.text_projection import load_connector
from ...model_loaders.transformer import load_transformer
from ...model_loaders.video_vae import load_video_encoder
from ...nodes.predictor import Texts, predictor
from ...samplers.conditioning import ConditioningItem, Keyframe, LatentReplacement, apply_items
from ...samplers.denoiser import Denoiser
from ...samplers.dfr import dfr_canvas, dfr_stitch, dfr_tiles
from ...samplers.guidance import Guidance
from ...samplers.schedules import distilled_sigmas
from ...samplers.shapes import VideoGrid
from ...samplers.state import audio_state, end_stage, noised, video_state
from ...samplers.steps import sample_euler
from ...samplers.streams import Streams
from ...samplers.tiled_predict import tiled_predict
from ...samplers.tiled_tokens import TileTokens, tile_positions, tile_tokens
from ...samplers.tiling import AxisTiles, TilePlan, balanced, split_axis
from ..case import Case
from ..registry import procedure

TABLES = {"tiled_stage2": "stage 2, several devices"}


@procedure("pipeline.tiled_denoise")
def tiled_tokens(case: Case) -> dict[str, Tensor]:
    outputs = {"balanced": torch.tensor([balanced(count) for count in case.inputs["balanced_in"].tolist()])}
    for index, row in enumerate(case.call["splits_len_count_overlap"]):
        intervals = split_axis(*row)
        outputs[f"split{index}"] = torch.tensor([[i.start, i.end, i.left, i.right] for i in intervals])
        outputs |= {f"split{index}_mask{k}": interval.weights() for k, interval in enumerate(intervals)}
    return outputs | _tiled_call(case)


def _tiled_call(case: Case) -> dict[str, Tensor]:
    """The toy model of the case's notes, tile by tile."""
    x, positions = case.inputs["tokens"], case.inputs["positions"]
    tiles = _plan(case.call["tiles"]).tiles(VideoGrid(*case.call["target_shape_BCFHW"][2:]))
    outputs, blended = {}, torch.zeros_like(x)
    for index, own in enumerate(tile_tokens(positions, tiles)):
        tokens = own.to(x.device)
        blended.index_add_(1, tokens.index, _toy(case, x, tokens) * tokens.weights[:, None])
        outputs[f"tile{index}_keep"] = tokens.index
        outputs[f"tile{index}_positions"] = tile_positions(positions, tokens)
        outputs[f"tile{index}_cond_weights"] = tokens.weights[tokens.grid :]
    return outputs | {"blended": blended}


def _toy(case: Case, x: Tensor, tokens: TileTokens) -> Tensor:
    own = x[:, tokens.index]
    return torch.tanh(own @ case.inputs["toy_W"] + own.mean(dim=1, keepdim=True))


@procedure("pipeline.tiled_stage2")
def tiled_stage2(case: Case) -> dict[str, Tensor]:
    call, inputs = case.call, case.inputs
    checkpoint = open_checkpoint(case.sibling(call["checkpoint"]))
    video = video_state(inputs["start_latent"].to(case.device), call["fps"])
    video = apply_items(video, [_item(case, checkpoint, row) for row in call["conditioning"]])
    states = Streams(video=video, audio=audio_state(inputs["start_audio"].to(case.device)))
    sigmas = distilled_sigmas(TABLES[call["sigmas"].split()[0]])
    noise = Streams(video=inputs["noise_video"], audio=inputs["noise_audio"])
    states = states.map(lambda state, drawn: noised(state, drawn.to(case.device), sigmas[0]), noise)
    transformer = load_transformer(checkpoint).to(case.device, case.dtype)
    make = partial(predictor, transformer, Texts(positive=contexts(case, checkpoint, "pos")))
    denoise = Denoiser(states, states.map(lambda _: Guidance()), tiled_predict(make, states, _plan(call["tiles"])))
    done = sample_euler(denoise, states.map(lambda state: state.latent), sigmas)
    latents = done.map(lambda tokens, state: end_stage(replace(state, latent=tokens)).latent, states)
    assert latents.video is not None
    assert latents.audio is not None
    return {"video_latent": latents.video, "audio_latent": latents.audio}


def contexts(case: Case, checkpoint: Checkpoint, sign: str) -> Streams[Tensor]:
    """The contexts of `text_features_*_{sign}`, through the connectors of the checkpoint."""
    mask = case.inputs[f"text_mask_{sign}"].to(case.device)

    def context(modality: Any) -> Tensor:
        features = case.inputs[f"text_features_{modality}_{sign}"].to(case.device, case.dtype)
        connector = load_connector([checkpoint], modality).to(case.device, case.dtype)
        encoded: Tensor = connector(features, mask, length=features.shape[1])
        return encoded

    return Streams(video=context("video"), audio=context("audio"))


def _item(case: Case, checkpoint: Checkpoint, row: dict[str, Any]) -> ConditioningItem:
    pixels = case.inputs[row["image"]].numpy().astype(np.uint8)
    encoder = load_video_encoder(checkpoint).to(case.device, case.dtype)
    image = prepare_image(pixels, case.call["height"], case.call["width"], crf=0)
    latent: Tensor = encoder.encode(image.to(case.device, case.dtype)).float()
    if row["type"] == "latent_index":
        return LatentReplacement(latent=latent, latent_frame=row["latent_idx"], strength=row["strength"])
    assert row["type"] == "keyframe", row
    return Keyframe(latent=latent, frame=row["frame_idx"], strength=row["strength"])


def _plan(tiles: dict[str, list[int]]) -> TilePlan:
    return TilePlan(**{axis: AxisTiles(count=count, overlap=overlap) for axis, (count, overlap) in tiles.items()})


@procedure("pipeline.dfr_layout")
def dfr_layout(case: Case) -> dict[str, Tensor]:
    outputs: dict[str, Tensor] = {}
    for frames in case.call["canvas_num_frames"]:
        canvas = dfr_canvas(frames)
        outputs[f"canvas_{frames}"] = torch.tensor([canvas.frames, canvas.segment, *canvas.slots])
    for i, row in enumerate(case.call["tiles"]):
        canvas = dfr_canvas(row["num_frames"])
        tiles = dfr_tiles(canvas.slots, row["num_tiles"], lead=row["lead_segments"])
        for j, tile in enumerate(tiles):
            bounds = [tile.first_pixel, tile.last_pixel, tile.first_latent, tile.end_latent, tile.dropped]
            outputs[f"tiles{i}_{j}_px_lat_drop"] = torch.tensor(bounds)
            outputs[f"tiles{i}_{j}_anchors"] = torch.tensor(tile.anchors)
            outputs[f"tiles{i}_{j}_slots"] = torch.tensor(tile.slots)
        indices = [torch.arange(tile.first_latent, tile.end_latent)[None, None] for tile in tiles]
        outputs[f"tiles{i}_stitched"] = dfr_stitch(tiles, indices)[0, 0].float()
    return outputs
