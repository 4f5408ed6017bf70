"""Published latent upscaler files → network (spec page latent_upscaler, sections 1 to 3). Their tensors have no prefix.

Such a file tells its generation in its metadata only, if at all, and partly by which resampler it has.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from ..networks.latent_upscaler.config import FIXED_RATIOS, RATIOS, LatentUpscalerConfig, Resampler
from ..networks.latent_upscaler.model import LatentUpscaler
from ..networks.operations import Operations, torch_operations
from .assemble import assemble, strip_prefix
from .checkpoint import Checkpoint, CheckpointError
from .generations import of_version

CLASS_NAME = "LatentUpsampler"
FIRST, LAST = "initial_conv.weight", "final_conv.weight"
PLAIN, RATIONAL = "upsampler.0.weight", "upsampler.conv.weight"
DEFAULTS: dict[str, Any] = {  # where the configuration is silent
    "in_channels": 128,
    "mid_channels": 512,
    "num_blocks_per_stage": 4,
    "dims": 3,
    "spatial_upsample": True,
    "temporal_upsample": False,
    "spatial_scale": 2.0,
    "rational_resampler": False,
}
RATIONAL_SCALES = {
    4: 2.0,
    9: 1.5,
    16: 4.0,
}  # by channels of the convolution a channel; 9 could be 0.75 too: unpublished

Shapes = Mapping[str, tuple[int, ...]]


def latent_upscaler_config(checkpoint: Checkpoint) -> LatentUpscalerConfig:
    """The configuration from the metadata, or from names and shapes where the metadata has none (section 2).

    Raises CheckpointError for a file without a latent upscaler, and ValueError for a value that is unknown or not
    supported.
    """
    refuse_other_file(checkpoint)
    fields = checkpoint.config
    if fields.get("_class_name", CLASS_NAME) != CLASS_NAME:
        raise _unsupported("_class_name", CLASS_NAME, fields["_class_name"])
    if not fields.keys() & DEFAULTS.keys():
        fields = detect_latent_upscaler(checkpoint.shapes)
    return _config(DEFAULTS | fields)


def load_latent_upscaler(checkpoint: Checkpoint, *, operations: Operations = torch_operations) -> LatentUpscaler:
    """The network of a latent upscaler file, in the dtype of the file.

    Raises CheckpointError or ValueError: see `latent_upscaler_config` and `assemble`.
    """
    build = partial(LatentUpscaler, latent_upscaler_config(checkpoint), operations=operations)
    return assemble(build, checkpoint, strip_prefix(checkpoint.names(), ""), what="latent upscaler")


def upscaler_generation(checkpoint: Checkpoint, config: LatentUpscalerConfig) -> str | None:
    """By `model_version`, else by what is published (section 1): x2 in size has a resampler of its own in LTX-2.

    None for resamplers that several generations share or that are not published. The tensors of 2.3 and 2.5 have the
    same names, shapes and types: without a version in the metadata nothing in a header tells one from the other.
    """
    by_structure = {("rational", (2, 1)): "2", ("spatial", (2, 1)): "2.3 or 2.5"}
    return of_version(checkpoint.metadata) or by_structure.get((config.resampler, config.ratio))


def refuse_other_file(checkpoint: Checkpoint) -> None:
    if not {FIRST, LAST} <= checkpoint.entries.keys():
        raise CheckpointError(
            f"{checkpoint.path}: expected a latent upscaler (tensors {FIRST}, {LAST}), found none; choose another file"
        )


def detect_latent_upscaler(shapes: Shapes) -> dict[str, Any]:
    """The published fields of a file without metadata, by its names and shapes."""
    mid, channels, *kernel = shapes[FIRST]
    return {
        "in_channels": channels,
        "mid_channels": mid,
        "num_blocks_per_stage": sum(
            name.startswith("res_blocks.") and name.endswith(".conv1.weight") for name in shapes
        ),
        "dims": len(kernel),
        **_detected_resampler(shapes, mid),
    }


def _detected_resampler(shapes: Shapes, mid: int) -> dict[str, Any]:
    if RATIONAL in shapes:
        growth = shapes[RATIONAL][0] // mid
        if growth in RATIONAL_SCALES:
            return {"rational_resampler": True, "spatial_scale": RATIONAL_SCALES[growth]}
    elif PLAIN in shapes:
        rows, _, *kernel = shapes[PLAIN]
        known = {(2, 4): (True, False), (3, 2): (False, True), (3, 8): (True, True)}  # (rank, growth): (space, time)
        if (len(kernel), rows // mid) in known:
            spatial, temporal = known[len(kernel), rows // mid]
            return {"spatial_upsample": spatial, "temporal_upsample": temporal}
    found = shapes.get(RATIONAL) or shapes.get(PLAIN) or "neither"
    raise CheckpointError(
        f"latent upscaler: expected a known shape of {RATIONAL} or {PLAIN} for {mid} channels, found {found}; "
        "this file is not supported"
    )


def _config(fields: Mapping[str, Any]) -> LatentUpscalerConfig:
    resampler = _resampler(fields)
    return LatentUpscalerConfig(
        in_channels=fields["in_channels"],
        mid_channels=fields["mid_channels"],
        num_blocks_per_stage=fields["num_blocks_per_stage"],
        dims=fields["dims"],
        resampler=resampler,
        ratio=_ratio(fields["spatial_scale"], resampler),
    )


def _resampler(fields: Mapping[str, Any]) -> Resampler:
    """`rational_resampler` means something only where frames are not doubled."""
    spatial, temporal = fields["spatial_upsample"], fields["temporal_upsample"]
    if temporal:
        return "spatiotemporal" if spatial else "temporal"
    if not spatial:
        raise _unsupported("one of spatial_upsample and temporal_upsample", "true", "neither")
    return "rational" if fields["rational_resampler"] else "spatial"


def _ratio(scale: object, resampler: Resampler) -> tuple[int, int]:
    """`spatial_scale` as (up, down); a temporal network does not read it."""
    if resampler == "temporal":
        return FIXED_RATIOS[resampler]
    if resampler == "rational":
        for known, ratio in RATIOS.items():
            if known == scale:
                return ratio
        raise _unsupported("spatial_scale", " or ".join(map(str, RATIOS)), scale)
    if scale != 2:
        raise _unsupported("spatial_scale", "2.0 without rational_resampler", scale)
    return FIXED_RATIOS[resampler]


def _unsupported(name: str, expected: str, found: object) -> ValueError:
    return ValueError(f"latent upscaler configuration: {name} must be {expected}, found {found!r}")
