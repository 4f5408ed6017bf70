"""Makes the x2 latent upscaler beside the embedded model: `python -m openltx.training.embedded_upscaler`.

Nothing is trained: the weights are chosen so that the published network repeats every cell in both directions. It
lets two-stage recipes run anywhere; what a cell becomes is left to the refinement that follows. A trained one may
replace it.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from ..model_loaders.assemble import build_on_meta
from ..networks.latent_upscaler import LatentUpscaler, LatentUpscalerConfig
from ..networks.latent_upscaler.config import GROUPS
from . import embedded_config as sizes

PATH = (
    Path(__file__).resolve().parents[1] / "assets" / "latent_upscale_models" / "openltx-tiny-2.3-spatial-x2.safetensors"
)
# Beside each channel of the latent a group norm sees two constants, +ANCHOR and -ANCHOR, so large that they alone set
# its deviation, SCALE. The mean that it subtracts shows in them, and is added again at the end. OFFSET keeps SiLU where
# it is the identity.
ANCHOR, OFFSET = 512.0, 16.0
SCALE = ANCHOR * math.sqrt(2 / 3)


def config(channels: int) -> LatentUpscalerConfig:
    """Three channels a group: one of the latent, two constants. ValueError for more channels than groups."""
    if channels > GROUPS:
        raise ValueError(f"channels: expected at most {GROUPS}, one a group, found {channels}; train an upscaler")
    return LatentUpscalerConfig(
        in_channels=channels,
        mid_channels=3 * GROUPS,
        num_blocks_per_stage=1,
        dims=3,
        resampler="spatial",
        ratio=(2, 1),
    )


def weights(channels: int) -> dict[str, Tensor]:
    """All tensors of the file: the large ones, of zeros and ones, in bfloat16, the others in float32."""
    like = build_on_meta(lambda: LatentUpscaler(config(channels))).state_dict()
    made = {name: torch.zeros(tensor.shape) for name, tensor in like.items()}
    for channel in range(channels):
        inside, plus, minus = range(3 * channel, 3 * channel + 3)
        made["initial_conv.weight"][inside, channel, 1, 1, 1] = 1.0
        for constant, sign in ((plus, 1.0), (minus, -1.0)):
            made["initial_conv.bias"][constant] = sign * ANCHOR
            made["initial_norm.bias"][constant] = OFFSET - sign * ANCHOR  # what is left: OFFSET - mean
            made["final_conv.weight"][channel, constant, 1, 1, 1] = -0.5
        made["initial_norm.weight"][inside : minus + 1] = SCALE
        made["initial_norm.bias"][inside] = OFFSET
        made["final_conv.weight"][channel, inside, 1, 1, 1] = 1.0
        for kept in (inside, plus, minus):
            made["upsampler.0.weight"][4 * kept : 4 * kept + 4, kept, 1, 1] = 1.0
    return {name: tensor.bfloat16() if tensor.ndim > 1 else tensor for name, tensor in made.items()}


def metadata(channels: int) -> dict[str, str]:
    """As published upscalers have it."""
    fields = {
        "_class_name": "LatentUpsampler",
        "in_channels": channels,
        "mid_channels": 3 * GROUPS,
        "num_blocks_per_stage": 1,
        "dims": 3,
        "spatial_upsample": True,
        "temporal_upsample": False,
        "spatial_scale": 2.0,
        "rational_resampler": False,
    }
    return {"config": json.dumps(fields)}


def main() -> None:
    channels = sizes.VIDEO_ENCODER.latent_channels
    PATH.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights(channels), PATH, metadata(channels))
    PATH.chmod(0o644)  # safetensors makes files that only their owner reads
    print(f"{PATH}: {PATH.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
