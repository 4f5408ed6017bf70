"""Clips from files and to files."""

from __future__ import annotations

from typing import Any

from ..graph import Node, consumers
from ..rewrite import Rewriter, keep, told
from ..table import Row
from .loaders import source_of

SAVE = "OpenLTXSaveAV"
CONTAINERS = ("mp4", "mov", "mkv", "webm", "gif", "webp")
CODECS = {"h264": "h264", "h265": "h265", "av1": "av1", "prores": "prores", "vp9": "vp9", "ffv1": "ffv1"}
LONGEST = 4096  # frames that core's ImageFromBatch takes


def create_video(rewriter: Rewriter, node: Node, row: Row) -> None:
    """Goes into the saver; where something else takes the clip too, it also stays."""
    takers = {rewriter.source[taker].type for taker, _, _ in consumers(rewriter.source)[node.id]}
    if takers - {"SaveVideo"}:
        keep(rewriter, node, "another node takes the clip")
    else:
        told(rewriter, node, row, [], "pictures, sound and frame rate go to the saver")


def save_video(rewriter: Rewriter, node: Node, row: Row) -> None:
    made_of = source_of(rewriter, node.inputs.get("video"))
    if made_of is None or made_of.type != "CreateVideo":
        keep(rewriter, node)
        return
    container = str(node.inputs.get("format", "auto"))
    inputs = {
        "images": rewriter.input(made_of, "images"),
        "audio": rewriter.input(made_of, "audio"),
        "frame_rate": rewriter.filled(made_of, "$fps|30.0"),
        "filename_prefix": rewriter.filled(node, "$filename_prefix|openltx"),
        "container": container if container in CONTAINERS else "mp4",
    }
    made = rewriter.add(SAVE, inputs, node)
    rewriter.made[node.id] = made
    rewriter.give(node, [None])
    told(rewriter, node, row, [SAVE])


def combine_video(rewriter: Rewriter, node: Node, row: Row) -> None:
    kind = str(node.inputs.get("format", "video/h264-mp4")).lower()
    container = next((name for name in CONTAINERS if name in kind), "mov" if "prores" in kind else "mp4")
    inputs: dict[str, Any] = {
        "images": rewriter.input(node, "images"),
        "audio": rewriter.input(node, "audio"),
        "frame_rate": rewriter.filled(node, "$frame_rate|24.0"),
        "filename_prefix": rewriter.filled(node, "$filename_prefix|openltx"),
        "container": container,
        "codec": next((codec for name, codec in CODECS.items() if name in kind), "auto"),
        "quality": rewriter.filled(node, "$crf|-1"),
    }
    if container in ("gif", "webp"):
        inputs = {name: value for name, value in inputs.items() if name not in ("codec", "quality")}
    made = rewriter.add(SAVE, inputs, node)
    rewriter.made[node.id] = made
    rewriter.give(node, [None])
    told(rewriter, node, row, [SAVE], "pingpong is not kept" if node.inputs.get("pingpong") is True else None)


def load_clip(rewriter: Rewriter, node: Node, row: Row) -> None:
    """Frames, their number, sound; facts of the file have no counterpart."""
    rate = rewriter.filled(node, "$force_rate|0.0")
    inputs = {"file": node.inputs.get("video"), "start": rewriter.filled(node, "$start_time|0.0"), "frame_rate": rate}
    loader = rewriter.add("OpenLTXLoadClip", inputs, node)
    kinds, images = ["OpenLTXLoadClip"], [loader, 0]
    skipped, most = (rewriter.filled(node, f"${name}|0") for name in ("skip_first_frames", "frame_load_cap"))
    if skipped or most:
        part = {"image": images, "batch_index": skipped, "length": most or LONGEST}
        images, kinds = [rewriter.add("ImageFromBatch", part, node), 0], [*kinds, "ImageFromBatch"]
    width, height = (rewriter.filled(node, f"${name}|0") for name in ("custom_width", "custom_height"))
    if width or height:
        size = {"image": images, "upscale_method": "lanczos", "width": width, "height": height, "crop": "center"}
        images, kinds = [rewriter.add("ImageScale", size, node), 0], [*kinds, "ImageScale"]
    count = None
    if any(slot == 1 for _, _, slot in consumers(rewriter.source)[node.id]):
        count = [rewriter.add("GetImageSize", {"image": images}, node, "Frames"), 2]
    rewriter.give(node, [images, count, [loader, 1], None])
    rewriter.made[node.id] = loader
    every = node.inputs.get("select_every_nth", 1)
    told(rewriter, node, row, kinds, None if every in (0, 1) else "select_every_nth: set frame_rate instead")


RULES = {
    "create_video": create_video,
    "save_video": save_video,
    "combine_video": combine_video,
    "load_clip": load_clip,
}
