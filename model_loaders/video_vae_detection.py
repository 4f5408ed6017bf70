"""The configuration of a video VAE file without metadata, from names and shapes (spec page video_vae, section 2.5).

Shapes tell widths and numbers of layers; what they cannot tell (padding, patch size) is that of the generation. A
diffusion decoder is taken for the published one, since its kernels leave no trace in shapes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Shapes = Mapping[str, tuple[int, ...]]
Blocks = list[list[Any]]

# kinds in build order; the number of layers of each res_x is counted in the file
ENCODER_KINDS = (
    ("res_x", 0),
    ("compress_space_res", 2),
    ("res_x", 0),
    ("compress_time_res", 2),
    ("res_x", 0),
    ("compress_all_res", 2),
    ("res_x", 0),
    ("compress_all_res", 2),
    ("res_x", 0),
)
DECODER_KINDS_2 = (("res_x", 0), *(("compress_all", 2), ("res_x", 0)) * 3)
DECODER_KINDS_23 = (
    ("res_x", 0),
    ("compress_all", 2),
    ("res_x", 0),
    ("compress_all", 1),
    ("res_x", 0),
    ("compress_time", 2),
    ("res_x", 0),
    ("compress_space", 2),
    ("res_x", 0),
)

# section 9.1; only the one published file has a diffusion decoder
PUBLISHED_DIFFUSION_DECODER: dict[str, Any] = {
    "_class_name": "NADiffusionDecoder",
    "in_channels": 128,
    "out_channels": 3,
    "patch_size": 4,
    "head_dim": 64,
    "stage_channels": [2048, 1024, 512, 512, 256],
    "stage_depths": [4, 6, 4, 2, 8],
    "stage_kernels": [[3, 7, 7], [3, 7, 7], [3, 5, 5], [3, 5, 5], [11, 11, 11]],
    "upsamples": [[[1, 2, 2], 2], [[2, 1, 1], 2], [[2, 2, 2], 1], [[2, 2, 2], 2]],
    "stage5_kernel": [11, 11, 11],
    "timestep_scale_multiplier": 1000.0,
    "default_num_inference_steps": 1,
}
PUBLISHED_PREDICTION = "x0"


def detect_video_vae(shapes: Shapes) -> dict[str, Any]:
    """The flat configuration (section 2.1) of a file, by its names without prefix; LTX-2 or LTX-2.3 and later."""
    first = is_first_generation(shapes)
    fields: dict[str, Any] = {
        "encoder_blocks": _counted(ENCODER_KINDS, shapes, "encoder.down_blocks"),
        "decoder_blocks": _counted(DECODER_KINDS_2 if first else DECODER_KINDS_23, shapes, "decoder.up_blocks")[::-1],
    }
    if first:
        for name, params in fields["decoder_blocks"]:
            if name == "compress_all":
                params["residual"] = True
    else:
        fields["encoder_blocks"][7][1]["multiplier"] = 1
        fields["spatial_padding_mode"] = "zeros"
    if "per_channel_statistics.mean-of-means" in shapes:
        fields["latent_channels"] = shapes["per_channel_statistics.mean-of-means"][0]
    if "decoder.conv_out.conv.weight" in shapes:
        fields["decoder_base_channels"] = shapes["decoder.conv_out.conv.weight"][1]
    return fields


def is_diffusion_decoder(shapes: Shapes) -> bool:
    linear = len(shapes.get("decoder.conv_in.weight", ())) == 2
    return linear or any(name.startswith("decoder.det_stages.") for name in shapes)


def is_first_generation(shapes: Shapes) -> bool:
    """LTX-2: seven decoder blocks; in a file without a decoder: an encoder that ends 16 times as wide as it starts."""
    if any(name.startswith("decoder.up_blocks.") for name in shapes):
        return "decoder.up_blocks.7.conv.conv.weight" not in shapes
    start, end = shapes.get("encoder.conv_in.conv.weight"), shapes.get("encoder.conv_out.conv.weight")
    return start is not None and end is not None and end[1] == 16 * start[0]


def _counted(kinds: tuple[tuple[str, int], ...], shapes: Shapes, prefix: str) -> Blocks:
    return [
        [kind, {"multiplier": multiplier} if multiplier else {"num_layers": _layers(shapes, f"{prefix}.{index}")}]
        for index, (kind, multiplier) in enumerate(kinds)
    ]


def _layers(shapes: Shapes, block: str) -> int:
    return sum(name.startswith(f"{block}.res_blocks.") and name.endswith(".conv1.conv.weight") for name in shapes)
