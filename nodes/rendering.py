"""Fidelity rendering (LTX-2.5): keyframes first, then more frames between them, tile by tile (pipelines.md 13)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..samplers.conditioning import Keyframe, KeyframeSlots
from ..samplers.dfr import TemporalTile, dfr_canvas, dfr_stitch, dfr_tiles, nearest_latent_frame
from ..samplers.shapes import nearest_frames, pixel_frames
from .generations import generation_of, of_latent
from .host.api import io
from .latents import (
    FIRST_CLIP,
    FRAME_RATE,
    KEYFRAME_CLIP,
    KEYFRAMES,
    WINDOW,
    Latent,
    Window,
    frame_rate_of,
    joined,
    keyframes_of,
    layout_of,
    members,
    video_of,
    with_video_item,
    without_items,
)
from .made import MADE, made_of, merged_steps

ANCHOR_STRENGTH = 0.95
POSITION_RATE = 60.0  # frames a second beyond which positions are laid out as for this rate


class RenderCanvas(io.ComfyNode):
    """A clip's length → the length and the keyframes that rendering works with."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXRenderCanvas",
            display_name="Render Canvas (LTX)",
            category="OpenLTX/rendering",
            description="Pads a clip to whole segments of 24 or 32 frames, with a keyframe at the end of each.",
            inputs=[io.Int.Input("frames", default=121, min=9, max=8193, step=8, tooltip="Frames that you want.")],
            outputs=[
                io.Int.Output("frames", tooltip="Frames to generate; Trim Video cuts the rest."),
                io.String.Output("slots", tooltip="Frames of the keyframes, for Condition: Keyframe Slots."),
                io.Int.Output("wanted", tooltip="The frames that you want, snapped, for Trim Video."),
            ],
        )

    @classmethod
    def execute(cls, frames: int) -> io.NodeOutput:
        wanted = nearest_frames(frames)
        canvas = dfr_canvas(wanted)
        return io.NodeOutput(canvas.frames, ", ".join(map(str, canvas.slots)), wanted)


class RenderTile(io.ComfyNode):
    """One tile of a round: a part of the clip's time."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXRenderTile",
            display_name="Render Tile (LTX)",
            category="OpenLTX/rendering",
            description="Cuts one tile out of a clip whose frames were doubled. Add pictures, then Render Keyframes.",
            inputs=[
                io.Latent.Input("latent", tooltip="The clip after the temporal upscaler."),
                io.Latent.Input("keyframes", tooltip="The keyframes of the stage before."),
                io.Int.Input("index", default=0, min=0, max=63, tooltip="Which tile, from 0."),
                io.Int.Input("tiles", default=2, min=1, max=64, tooltip="How many: 2 in round 1, 4 in round 2."),
            ],
            outputs=[io.Latent.Output("latent", tooltip="The tile; pictures know which of its frames is theirs.")],
        )

    @classmethod
    def execute(cls, latent: Latent, keyframes: Latent, index: int, tiles: int) -> io.NodeOutput:
        latent = of_latent(latent, keyframes, "keyframes")
        video = video_of(latent)
        frames, former = pixel_frames(video.shape[2]), int(keyframes[KEYFRAME_CLIP])
        factor = (frames - 1) // (former - 1)
        positions = [frame * factor for frame in keyframes_of(keyframes)]
        plan = dfr_tiles(positions, tiles)
        if index >= len(plan) or positions[-1] != frames - 1:
            raise ValueError(
                f"tile {index}: expected one of {len(plan)} tiles of {positions[-1] + 1} frames, found a clip of "
                f"{frames}; double the frames of the stage that made the keyframes"
            )
        whole = (frames - 1) // (int(keyframes.get(FIRST_CLIP, former)) - 1)
        window = Window(tile=plan[index], factor=whole, known=tuple(positions), keyframes=video_of(keyframes))
        part = video[:, :, plan[index].first_latent : plan[index].end_latent]
        rate = min(frame_rate_of(latent), POSITION_RATE)
        steps = merged_steps(made_of(latent), made_of(keyframes))
        return io.NodeOutput({**generation_of(latent), "samples": part, FRAME_RATE: rate, WINDOW: window, MADE: steps})


class RenderKeyframes(io.ComfyNode):
    """The keyframes of a tile: known ones to keep to, new ones to make."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXRenderKeyframes",
            display_name="Render Keyframes (LTX)",
            category="OpenLTX/rendering",
            description="Gives a tile the keyframes that it must meet, and slots for new ones between them.",
            inputs=[
                io.Latent.Input("latent", tooltip="From Render Tile, after all pictures."),
                io.Float.Input(
                    "strength",
                    default=ANCHOR_STRENGTH,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="How exactly the known keyframes are met.",
                ),
            ],
            outputs=[io.Latent.Output("latent", tooltip="The tile, ready to be sampled.")],
        )

    @classmethod
    def execute(cls, latent: Latent, strength: float) -> io.NodeOutput:
        window, video = window_of(latent), video_of(latent)
        tile = window.tile
        for frame in tile.anchors:
            at = window.known.index(frame)
            picture = window.keyframes[:, :, at : at + 1]
            item = Keyframe(latent=picture, frame=frame - tile.first_pixel, strength=strength)
            latent = with_video_item(latent, item)
        local = tuple(frame - tile.first_pixel for frame in tile.slots)
        nearest = [nearest_latent_frame(frame, video.shape[2]) for frame in local]
        return io.NodeOutput(with_video_item(latent, KeyframeSlots(positions=local, seeds=video[:, :, nearest])))


class StitchTiles(io.ComfyNode):
    """Finished tiles → the clip."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        template = io.Autogrow.TemplatePrefix(
            io.Latent.Input("tile", tooltip="A finished tile."), prefix="tile", min=1, max=64
        )
        made = io.Autogrow.TemplatePrefix(
            io.Latent.Input("keyframes", tooltip="The keyframes that a tile made."), prefix="keyframes", min=1, max=64
        )
        return io.Schema(
            node_id="OpenLTXStitchTiles",
            display_name="Stitch Tiles (LTX)",
            category="OpenLTX/rendering",
            description="Puts the tiles of a round together, and all keyframes for the next round.",
            inputs=[
                io.Autogrow.Input("tiles", template=template, tooltip="All tiles, in order."),
                io.Autogrow.Input("keyframes", template=made, tooltip="Their keyframes, in the same order."),
                io.Float.Input("frame_rate", default=48.0, min=1.0, max=480.0, step=0.001, tooltip="Frames a second."),
            ],
            outputs=[
                io.Latent.Output("latent", tooltip="The clip."),
                io.Latent.Output("keyframes", tooltip="Old and new keyframes, for another round."),
            ],
        )

    @classmethod
    def execute(cls, tiles: dict[str, Latent], keyframes: dict[str, Latent], frame_rate: float) -> io.NodeOutput:
        parts, made = list(tiles.values()), list(keyframes.values())
        windows = [window_of(part) for part in parts]
        _refuse_gaps([window.tile for window in windows], len(made))
        whole = parts[0]
        for part in (*parts[1:], *made):
            whole = of_latent(whole, part, "tiles")
        generation = generation_of(whole)
        latent = dfr_stitch([window.tile for window in windows], [video_of(part) for part in parts])
        known = dict(zip(windows[0].known, torch.split(windows[0].keyframes, 1, dim=2), strict=True))
        for window, new in zip(windows, made, strict=True):
            pictures = torch.split(video_of(new), 1, dim=2)
            known = {**dict(zip(window.tile.slots, pictures, strict=True)), **known}
        merged = dict(sorted(known.items()))
        steps = merged_steps(*map(made_of, (*parts, *made)))
        frames = {
            **generation,
            "samples": torch.cat(list(merged.values()), dim=2),
            FRAME_RATE: frame_rate,
            KEYFRAMES: list(merged),
            KEYFRAME_CLIP: pixel_frames(latent.shape[2]),
            FIRST_CLIP: windows[0].first_stage_frames,
            MADE: steps,
        }
        return io.NodeOutput({**generation, "samples": latent, FRAME_RATE: frame_rate, MADE: steps}, frames)


class TrimVideo(io.ComfyNode):
    """The first frames of a clip."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXTrimVideo",
            display_name="Trim Video (LTX)",
            category="OpenLTX/latent",
            description="Cuts the end of a video latent, as padded by Render Canvas.",
            inputs=[
                io.Latent.Input("latent", tooltip="The clip."),
                io.Int.Input("frames", default=121, min=1, max=8193, step=8, tooltip="Frames of the first stage."),
                io.Int.Input("rounds", default=1, min=0, max=4, tooltip="How often the frame rate was doubled since."),
            ],
            outputs=[io.Latent.Output("latent", tooltip="(frames - 1) * 2^rounds + 1 frames.")],
        )

    @classmethod
    def execute(cls, latent: Latent, frames: int, rounds: int) -> io.NodeOutput:
        video = video_of(latent)
        count = (nearest_frames(frames) - 1) * 2**rounds // 8 + 1
        if count > video.shape[2]:
            raise ValueError(
                f"frames: expected at most {pixel_frames(video.shape[2])} after {rounds} rounds, found "
                f"{pixel_frames(count)}; take the frames of the first stage"
            )
        rest = {key: value for key, value in without_items(latent).items() if key != WINDOW}
        return io.NodeOutput({**rest, "samples": joined(replace_video(latent, video[:, :, :count]))})


class TrimAudio(io.ComfyNode):
    """Sound as long as frames take."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXTrimAudio",
            display_name="Trim Audio (LTX)",
            category="OpenLTX/latent",
            description="Cuts sound to the duration of a video latent.",
            inputs=[
                io.Audio.Input("audio", tooltip="Decoded sound."),
                io.Latent.Input("latent", tooltip="The finished video latent."),
                io.Float.Input("frame_rate", default=48.0, min=1.0, max=480.0, step=0.001, tooltip="Frames a second."),
            ],
            outputs=[io.Audio.Output("audio", tooltip="The sound.")],
        )

    @classmethod
    def execute(cls, audio: dict[str, Any], latent: Latent, frame_rate: float) -> io.NodeOutput:
        samples = round(layout_of(latent).frames / frame_rate * audio["sample_rate"])
        return io.NodeOutput({**audio, "waveform": audio["waveform"][..., :samples]})


def window_of(latent: Latent) -> Window:
    """Which part of a clip a LATENT is; ValueError for one that is no tile."""
    window: Window | None = latent.get(WINDOW)
    if window is None:
        raise ValueError("latent: expected a tile from Render Tile (LTX), found another latent; connect a tile")
    return window


def replace_video(latent: Latent, video: Tensor) -> Any:
    """The streams of a LATENT with another video."""
    pair = members(latent)
    return type(pair)(video=video, audio=pair.audio)


def _refuse_gaps(tiles: list[TemporalTile], made: int) -> None:
    """ValueError unless these are all tiles of a clip, in order, with keyframes for each."""
    end = 0
    for index, tile in enumerate(tiles):
        if tile.first_latent + tile.dropped != end:
            raise ValueError(f"tiles: expected the part from latent frame {end} on as tile {index}, found another one")
        end = tile.end_latent
    if made != len(tiles):
        raise ValueError(f"keyframes: expected those of {len(tiles)} tiles, found {made}; connect them all")
