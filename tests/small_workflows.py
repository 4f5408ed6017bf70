"""What the bundled workflows need to run in seconds: small media, the embedded model under other names, small sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from openltx.api import WORKFLOWS, load_workflow
from openltx.media.av_writer import write_av
from openltx.model_loaders.checkpoint import open_checkpoint
from openltx.networks.latent_upscaler import LatentUpscaler, LatentUpscalerConfig
from openltx.nodes.host.standalone.workflow import exposed_inputs

ASSETS = WORKFLOWS.parents[1] / "assets"
CHECKPOINT = ASSETS / "openltx-tiny-2.3.safetensors"
FILM = """
[film]
width = 64
height = 64
window = 1.0
overlap = 0.4
[[shot]]
length = 0.7
prompt = "a red ball bounces"
[[shot]]
length = 0.7
prompt = "a blue box slides right"
transition = "continue"
[[shot]]
length = 1.0
prompt = "a green box blinks"
transition = "overlap"
overlap = 0.5
"""
SMALL = {"shots": FILM, "width": 64, "height": 64, "frames": 9, "steps": 2}


def make_media(folder: Path) -> Path:
    """A clip with sound and a mask of its size, smaller than the bundled ones."""
    ramp = torch.linspace(0, 1, 17 * 64 * 64 * 3).reshape(17, 64, 64, 3)
    sound = torch.sin(torch.arange(16000) / 20).expand(2, -1) * 0.5
    write_av(folder / "clip.mp4", [ramp], frame_rate=24.0, waveform=sound, sample_rate=16000)
    mask = Image.new("RGBA", (64, 64), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (0, 0, 32, 64))
    mask.save(folder / "mask.png")
    return folder


def make_models(root: Path) -> Path:
    """The embedded model under the names of LTX-2.5's files, with the marker that keyframe slots need."""
    tensors, metadata = load_file(CHECKPOINT), open_checkpoint(CHECKPOINT).metadata
    width = tensors["model.diffusion_model.patchify_proj.weight"].shape[0]
    tensors["model.diffusion_model.keyframes_abs_pos_embedding"] = torch.full((1, width), 0.1, dtype=torch.bfloat16)
    for role in ("diffusion_models", "text_encoders", "vae", "latent_upscale_models"):
        (root / role).mkdir(exist_ok=True)
    for kind in ("dev", "distilled"):
        save_file(tensors, root / "diffusion_models" / f"ltx-2.5-22b-{kind}-transformer-bf16.safetensors", metadata)
    (root / "text_encoders" / "gemma4-12b-with-proj-ltx-2.5-bf16.safetensors").symlink_to(CHECKPOINT)
    for part in ("video", "audio"):
        (root / "vae" / f"ltx-2.5-{part}-vae-bf16.safetensors").symlink_to(CHECKPOINT)
    upscalers = root / "latent_upscale_models"
    (upscalers / "ltx-2.5-latent-spatial-upscaler-x2-bf16-1.0.safetensors").symlink_to(
        ASSETS / "latent_upscale_models" / "openltx-tiny-2.3-spatial-x2.safetensors"
    )
    channels = tensors["model.diffusion_model.patchify_proj.weight"].shape[1]
    torch.manual_seed(0)
    config = LatentUpscalerConfig(
        in_channels=channels, mid_channels=32, num_blocks_per_stage=1, dims=3, resampler="temporal", ratio=(1, 1)
    )
    save_file(
        LatentUpscaler(config).state_dict(),
        upscalers / "ltx-2.5-latent-temporal-upscaler-x2-bf16-1.0.safetensors",
    )
    return root


def small_inputs(name: str, media: Path) -> dict[str, Any]:
    """Values of a workflow's options, with the files of `make_media`."""
    exposed = exposed_inputs(load_workflow(name))
    given: dict[str, Any] = {**SMALL, "video": media / "clip.mp4", "mask": media / "mask.png"}
    if name.startswith("fidelity_rendering"):
        given["frames"] = 49  # two segments: a tile each
    if name == "extend":
        given |= {"frames": 25, "overlap": 0.3}
    if name in ("ic_lora", "motion_track"):
        given |= {"width": 128, "height": 128}  # half of the first stage's size must still hold a cell
    return {option: value for option, value in given.items() if option in exposed}
