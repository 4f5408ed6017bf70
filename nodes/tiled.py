"""Tiles, for sizes that do not fit into memory at once: of every model call, or as runs of their own; the mask rule."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from torch import Tensor

from ..samplers.conditioning import ConditioningItem, GivenStream
from ..samplers.cut_items import cut_video_items
from ..samplers.long_video import Sound
from ..samplers.shapes import VideoGrid
from ..samplers.streams import Streams
from ..samplers.tiling import AxisTiles, Tile, TilePlan, affordable_plan, blend_tiles, fitted_plan
from .generations import generation_of
from .guide import Guider
from .host.api import check_interrupted, io
from .kept_steps import KEEP_AFTER, keep_input
from .latents import FRAME_RATE, Latent, items_of, joined, layout_of, members, video_of, with_items, without_items
from .long import seeded
from .made import MADE, made_of
from .noise import NoiseSource, SeededNoise
from .rules import StepRule
from .stage import run_stage

SPACE_OVERLAP, TIME_OVERLAP = 5, 2  # latent cells; 5 is what the official several-device recipe shares


class TiledGuider(io.ComfyNode):
    """A guider → the same, in tiles of the user's choice."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXTiledGuider",
            display_name="Tiled Guider (LTX)",
            category="OpenLTX/sampling",
            description="Runs every model call in overlapping tiles, blended after each. For refinements at low noise "
            "(first sigma 0.7 or less): a tile sees nothing of the others. Noise does not depend on the tiles.",
            inputs=[
                io.Guider.Input("guider", tooltip="From Guider (LTX) or Preset Guider (LTX)."),
                io.Int.Input("rows", default=1, min=1, max=64, tooltip="Tiles over the height."),
                io.Int.Input("columns", default=2, min=1, max=64, tooltip="Tiles over the width."),
                io.Int.Input(
                    "overlap", default=SPACE_OVERLAP, min=0, max=64, tooltip="Cells of 32 pixels that tiles share."
                ),
                io.Int.Input("time_tiles", default=1, min=1, max=64, tooltip="Tiles over the time."),
                io.Int.Input(
                    "time_overlap", default=TIME_OVERLAP, min=0, max=64, tooltip="Groups of 8 frames that they share."
                ),
            ],
            outputs=[io.Guider.Output("guider", tooltip="For Sample Stage (LTX).")],
        )

    @classmethod
    def execute(
        cls, guider: Guider, rows: int, columns: int, overlap: int, time_tiles: int, time_overlap: int
    ) -> io.NodeOutput:
        return io.NodeOutput(replace(guider, tiles=tile_plan(rows, columns, overlap, time_tiles, time_overlap)))


class FittingTiledGuider(io.ComfyNode):
    """A guider → the same, in the fewest tiles of a given size."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXFittingTiledGuider",
            display_name="Fitting Tiled Guider (LTX)",
            category="OpenLTX/sampling",
            description="As Tiled Guider, with the fewest tiles over height and width that stay below a number of "
            "tokens. A token takes about 120 kB while the model runs: 32768 tokens take 4 GB beside the weights.",
            inputs=[
                io.Guider.Input("guider", tooltip="From Guider (LTX) or Preset Guider (LTX)."),
                io.Latent.Input("latent", tooltip="The latent that will be sampled: its size counts."),
                io.Int.Input(
                    "tokens",
                    default=32768,
                    min=256,
                    max=2**22,
                    step=256,
                    tooltip="Tokens of a tile, at most; one is 32 x 32 pixels of 8 frames.",
                ),
                io.Int.Input(
                    "overlap", default=SPACE_OVERLAP, min=0, max=64, tooltip="Cells of 32 pixels that tiles share."
                ),
            ],
            outputs=[
                io.Guider.Output("guider", tooltip="For Sample Stage (LTX)."),
                io.String.Output("tiles", tooltip="The tiles that it chose."),
            ],
        )

    @classmethod
    def execute(cls, guider: Guider, latent: Latent, tokens: int, overlap: int) -> io.NodeOutput:
        grid = layout_of(latent).grid
        plan = affordable_plan(grid, tokens, overlap=overlap)
        return io.NodeOutput(replace(guider, tiles=plan), plan_text(plan, grid))


class SampleTiles(io.ComfyNode):
    """A stage in tiles that are runs of their own."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXSampleTiles",
            display_name="Sample Tiles (LTX)",
            category="OpenLTX/sampling",
            description="Refines a large picture tile by tile, each from its first to its last step, blended at the "
            "end. Needs the memory of one tile; seams are less even than with Tiled Guider. The sound is kept.",
            inputs=[
                io.Noise.Input("noise", tooltip="From Noise (LTX). Each tile has a seed of its own."),
                io.Guider.Input("guider", tooltip="From Guider (LTX) or Preset Guider (LTX)."),
                io.Sampler.Input("sampler", tooltip="From Step Rule (LTX)."),
                io.Sigmas.Input("sigmas", tooltip="From a schedule node; the first value is the level of noise."),
                io.Latent.Input("latent", tooltip="The latent to refine, with references and images if any."),
                io.Int.Input("rows", default=2, min=1, max=64, tooltip="Tiles over the height."),
                io.Int.Input("columns", default=2, min=1, max=64, tooltip="Tiles over the width."),
                io.Int.Input("overlap", default=6, min=0, max=64, tooltip="Cells of 32 pixels that tiles share."),
                io.Int.Input("time_tiles", default=1, min=1, max=64, tooltip="Tiles over the time."),
                io.Int.Input("time_overlap", default=8, min=0, max=64, tooltip="Groups of 8 frames that they share."),
                keep_input(),
            ],
            outputs=[io.Latent.Output("latent", tooltip="The finished latent.")],
        )

    @classmethod
    def execute(
        cls,
        noise: NoiseSource,
        guider: Guider,
        sampler: StepRule,
        sigmas: Tensor,
        latent: Latent,
        rows: int,
        columns: int,
        overlap: int,
        time_tiles: int,
        time_overlap: int,
        keep_after: int = KEEP_AFTER,
    ) -> io.NodeOutput:
        grid, seeds = layout_of(latent).grid, seeded(noise)
        tiles = fitted_plan(tile_plan(rows, columns, overlap, time_tiles, time_overlap), grid).tiles(grid)
        parts, steps = [], made_of(latent)
        for index, tile in enumerate(tiles):
            check_interrupted()
            own_noise = SeededNoise(seeds.seed + index)
            try:
                part = tile_latent(latent, tile)
                finished, _ = run_stage(own_noise, guider, sampler, sigmas, part, keep_after=keep_after)
            except FloatingPointError as error:
                raise FloatingPointError(f"tile {index + 1} of {len(tiles)}: {error}") from error
            parts.append(video_of(finished))
            steps += made_of(finished)
        pair = Streams(video=blend_tiles(tiles, parts), audio=members(latent).audio)
        return io.NodeOutput({**without_items(latent), "samples": joined(pair), MADE: steps})


class MaskRule(io.ComfyNode):
    """A guider → the same, with the other rule for fractional masks."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXMaskRule",
            display_name="Mask Rule (LTX)",
            category="OpenLTX/sampling",
            description="What a strength between 0 and 1 means. official: mixed with noise at the start. community: "
            "mixed in every step, as ComfyUI's samplers do; 'image strength 0.7' of shared workflows means that. "
            "For strengths of 0 and 1 both are the same.",
            inputs=[
                io.Guider.Input("guider", tooltip="From Guider (LTX), Preset Guider (LTX) or Tiled Guider (LTX)."),
                io.Combo.Input(
                    "rule", options=["official", "community"], default="community", tooltip="The rule in force."
                ),
            ],
            outputs=[io.Guider.Output("guider", tooltip="For Sample Stage (LTX).")],
        )

    @classmethod
    def execute(cls, guider: Guider, rule: Literal["official", "community"]) -> io.NodeOutput:
        return io.NodeOutput(replace(guider, mask_rule=rule))


def tile_plan(rows: int, columns: int, overlap: int, time_tiles: int, time_overlap: int) -> TilePlan:
    return TilePlan(
        frames=AxisTiles(count=time_tiles, overlap=time_overlap),
        height=AxisTiles(count=rows, overlap=overlap),
        width=AxisTiles(count=columns, overlap=overlap),
    )


def tile_latent(latent: Latent, tile: Tile) -> Latent:
    """A tile of a LATENT as one of its own, with its part of the video's items; its sound is given, whatever items say.

    ValueError for an item that cannot be cut.
    """
    pair, layout, sound = members(latent), layout_of(latent), None
    frames = tile.frames
    audio_items: tuple[ConditioningItem, ...] = ()
    if pair.audio is not None:
        borders = Sound(layout.fps)
        last = pair.audio.shape[2] if frames.end == layout.grid.frames else borders.end(frames.end)
        sound = pair.audio[:, :, borders.start(frames.start) : last]
        audio_items = (GivenStream(latent=sound),)
    cut = Streams(video=tile.cut(video_of(latent)), audio=sound)
    items = Streams(video=tuple(cut_video_items(items_of(latent).video or (), tile, layout)), audio=audio_items)
    return with_items({**generation_of(latent), "samples": joined(cut), FRAME_RATE: layout.fps}, items)


def plan_text(plan: TilePlan, grid: VideoGrid) -> str:
    """`2 x 2 tiles of 2080x1248 pixels (36855 tokens)`: of the largest one."""
    largest = max((tile.size for tile in plan.tiles(grid)), key=lambda size: size.tokens)
    return (
        f"{plan.height.count} x {plan.width.count} tiles of {largest.width * 32}x{largest.height * 32} pixels "
        f"({largest.tokens} tokens)"
    )
