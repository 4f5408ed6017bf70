"""Pictures and clips as conditioning; sizes of pictures."""

from __future__ import annotations

from typing import Any

from ..graph import Node, Wire, upstream
from ..rewrite import Rewriter, told
from ..table import Row
from .latents import empty_latent

IMAGE, REFERENCE = "OpenLTXConditionImage", "OpenLTXConditionReference"
STILLS = ("LoadImage", "EmptyImage", "LoadImageOutput", "ImageFromBatch", "GetImageRangeFromBatch")
CLIPS = (
    "GetVideoComponents", "VHS_LoadVideo", "VHS_LoadVideoPath", "VHS_LoadVideoFFmpeg", "VHS_LoadImages",
    "RepeatImageBatch", "OpenLTXLoadClip", "VAEDecode", "VAEDecodeTiled", "LTXVInpaintPreprocess",
)  # fmt: skip
SCALED = "pictures that have another size than the stage are scaled by OpenLTX's rule (bilinear, cropped to cover)"
PACKED = "pictures go through H.264 by OpenLTX's encoder settings: the strength (crf) is kept, single pixels differ"


def first_image(rewriter: Rewriter, node: Node, row: Row) -> None:
    latent, bypass = rewriter.input(node, "latent"), rewriter.input(node, "bypass")
    if bypass is True or rewriter.input(node, "image") is None:
        rewriter.give(node, [latent])
        told(rewriter, node, row, [], "switched off in the file (bypass)")
        return
    if isinstance(bypass, list):
        rewriter.report.remark(f"{node.name}: its bypass comes from another node; here the picture is always used")
    made = _image(rewriter, node, latent, {"strength": "$strength|1.0"}, placement="replace")
    rewriter.give(node, [[made, 0]])
    told(rewriter, node, row, [IMAGE])


def image_to_video(rewriter: Rewriter, node: Node, row: Row) -> None:
    sizes = {
        new: rewriter.input(node, old) for new, old in (("width", "width"), ("height", "height"), ("frames", "length"))
    }
    empty = empty_latent(rewriter, node, "video only", **sizes)
    given = rewriter.options(node, row)
    made = _image(rewriter, node, [empty, 0], {"strength": "$strength|1.0"}, placement="replace", crf=given.get("crf"))
    rewriter.give(node, [rewriter.input(node, "positive"), rewriter.input(node, "negative"), [made, 0]])
    told(rewriter, node, row, ["OpenLTXEmptyAVLatent", IMAGE])


def guide(rewriter: Rewriter, node: Node, row: Row) -> None:
    """A picture at a frame, or a control clip beside the whole."""
    given = rewriter.options(node, row)
    frame, strength = rewriter.filled(node, "$frame_idx|0"), rewriter.filled(node, "$strength|1.0")
    clip = given.get("clip") or given.get("factor") is not None or is_clip(rewriter, node.inputs.get("image"))
    latent = rewriter.input(node, "latent")
    if clip and frame == 0:
        made = _reference(rewriter, node, given, strength)
        told(rewriter, node, row, [REFERENCE])
    else:
        places = {"strength": strength, "frame": frame, "attention": strength}
        made = _image(rewriter, node, latent, places, placement="append", crf=given.get("crf"))
        told(rewriter, node, row, [IMAGE])
    _weighed(rewriter, node, strength)
    rewriter.give(node, [rewriter.input(node, "positive"), rewriter.input(node, "negative"), [made, 0]])


def _weighed(rewriter: Rewriter, node: Node, strength: Any) -> None:
    """Its strength is also that of attention."""
    if isinstance(strength, (int, float)) and strength > 1:
        rewriter.report.differs(f"{node.name}: its strength {strength} turns attention up in ComfyUI, here it is 1")


def images(rewriter: Rewriter, node: Node, row: Row) -> None:
    """Several pictures of one node: a chain of ours."""
    given = rewriter.options(node, row)
    latent, made, count = rewriter.input(node, "latent"), [], given["count"]
    for index in range(1, (count if isinstance(count, int) else 1) + 1):
        name = f"{given['prefix']}image_{index}"
        if rewriter.input(node, name) is None:
            continue
        frame = rewriter.input(node, f"{given['prefix']}{given['frame']}{index}") or 0
        placement = given["placement"] if frame == 0 or given["placement"] == "append" else "append"
        strength = rewriter.input(node, f"{given['prefix']}strength_{index}")
        places = {"strength": 1.0 if strength is None else strength, "frame": frame}
        latent = [_image(rewriter, node, latent, places, placement=placement, name=name), 0]
        made.append(IMAGE)
    texts = [rewriter.input(node, "positive"), rewriter.input(node, "negative")] if given.get("conditioning") else []
    rewriter.give(node, [*texts, latent])
    told(rewriter, node, row, made, f"{len(made)} pictures, one node each")


def latent_guide(rewriter: Rewriter, node: Node, row: Row) -> None:
    index = rewriter.input(node, "latent_idx")
    inputs = {
        "latent": rewriter.input(node, "latent"),
        "reference": rewriter.input(node, "guiding_latent"),
        "strength": rewriter.filled(node, "$strength|1.0"),
    }
    made = rewriter.add(REFERENCE, inputs, node)
    rewriter.made[node.id] = made
    rewriter.give(node, [rewriter.input(node, "positive"), rewriter.input(node, "negative"), [made, 0]])
    if index:
        rewriter.report.differs(f"{node.name}: its latent index {index} is not kept; the reference begins at frame 0")
    told(rewriter, node, row, [REFERENCE])


def resize(rewriter: Rewriter, node: Node, row: Row) -> None:
    """Of KJNodes → core's node."""
    sides = {name: rewriter.input(node, name) for name in ("width", "height")}
    step = node.inputs.get("divisible_by")
    if isinstance(step, int) and step > 1:
        sides = {name: side // step * step if isinstance(side, int) else side for name, side in sides.items()}
    how = node.inputs.get("keep_proportion")
    crop = "disabled" if how in (False, "stretch") else "center"
    method = node.inputs.get("upscale_method")
    inputs = {"image": rewriter.input(node, "image"), "upscale_method": method, **sides, "crop": crop}
    made = rewriter.add("ImageScale", inputs, node)
    size = rewriter.add("GetImageSize", {"image": [made, 0]}, node, "Size")
    rewriter.give(node, [[made, 0], [size, 0], [size, 1], None])
    rewriter.made[node.id] = made
    kept = how in (False, "stretch", "crop", "center")
    told(rewriter, node, row, ["ImageScale"], None if kept else f"keep_proportion {how!r}: cropped to the size here")


def grow_mask(rewriter: Rewriter, node: Node, row: Row) -> None:
    inputs = {
        "mask": rewriter.input(node, "mask"),
        "expand": rewriter.filled(node, "$spatial_radius|0"),
        "tapered_corners": False,
    }
    made = rewriter.add("GrowMask", inputs, node)
    rewriter.give(node, [[made, 0]])
    rewriter.made[node.id] = made
    told(rewriter, node, row, ["GrowMask"], "over frames: grow_frames of Inpaint Clip (LTX)")


def is_clip(rewriter: Rewriter, value: Any) -> bool:
    """Whether pictures of the old graph are a clip; where nothing tells, a single one."""
    if not isinstance(value, Wire) or value.node not in rewriter.source:
        return False
    for node in [rewriter.source[value.node], *upstream(rewriter.source, value.node)]:
        if node.type in ("ImageFromBatch", "GetImageRangeFromBatch"):
            length = node.inputs.get("length", node.inputs.get("num_frames"))
            if length == 1:
                return False
        elif node.type in STILLS:
            return False
        elif node.type in CLIPS:
            return True
    return False


RULES = {
    "first_image": first_image,
    "image_to_video": image_to_video,
    "guide": guide,
    "images": images,
    "latent_guide": latent_guide,
    "resize": resize,
    "grow_mask": grow_mask,
}


def _image(
    rewriter: Rewriter,
    node: Node,
    latent: Any,
    given: dict[str, Any],
    *,
    placement: str,
    crf: Any = None,
    name: str = "image",
) -> str:
    """A picture at a frame. crf: of a node that compresses what it is given; core has a node of its own for that."""
    packed = crf or 0
    inputs = {part: rewriter.filled(node, value) for part, value in given.items()}
    vae, image = rewriter.input(node, "vae"), rewriter.input(node, name)
    inputs |= {"latent": latent, "video_vae": vae, "image": image, "placement": placement, "crf": packed}
    made = rewriter.add(IMAGE, inputs, node)
    rewriter.made[node.id] = made
    rewriter.report.differs(SCALED)
    if packed:
        rewriter.report.differs(PACKED)
    return made


def _reference(rewriter: Rewriter, node: Node, given: dict[str, Any], strength: Any) -> str:
    """ComfyUI's strength is the mask's and the attention's at once."""
    factor = given.get("factor")
    inputs = {
        "latent": rewriter.input(node, "latent"),
        "space_factor": 1 if factor is None else factor,
        "strength": strength,
        "attention": given.get("attention", strength),
        "video_vae": rewriter.input(node, "vae"),
        "images": rewriter.input(node, "image"),
        "mask": rewriter.input(node, "attention_mask"),
    }
    made = rewriter.add(REFERENCE, inputs, node)
    rewriter.made[node.id] = made
    rewriter.report.differs(SCALED)
    return made
