"""Golden cases of the area `sampling`: shapes, tokens, schedules, noise, conversions.

Registers the rest of the area too: step rules, guidance.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ...samplers.conversions import pull_to_clean, velocity_from_x0, x0_from_velocity
from ...samplers.noise import add_noise
from ...samplers.schedules import (
    DEFAULT_TOKENS,
    beta_sigmas,
    distilled_sigmas,
    linear_quadratic_sigmas,
    ltx2_sigmas,
)
from ...samplers.shapes import (
    ScaleFactors,
    VideoGrid,
    audio_latent_frames,
    automatic_frames,
    even_keyframes,
    latent_grid,
    snap_frames,
)
from ...samplers.state import fresh_state
from ...samplers.tokens import (
    audio_positions,
    first_frame_marks,
    patchify_audio,
    patchify_video,
    video_pixel_bounds,
    video_positions,
)
from ..case import Case
from ..registry import procedure
from . import sampling_guidance, sampling_steps  # noqa: F401

TABLES = {
    "distilled_stage1": "stage 1",
    "distilled_stage2": "stage 2",
    "tiled_stage2": "stage 2, several devices",
    "hdr_stage2": "HDR refinement",
    "dfr_temporal_round": "temporal rounds",
}
OPTION_FRAMES = 6  # audio latent frames of the option variants; the case names them in its README only


@procedure("shapes")
def durations(case: Case) -> dict[str, Tensor]:
    i, call = case.inputs, case.call
    sizes = [
        (*latent_grid(int(frames), call["height"], call["width"]), audio_latent_frames(int(frames), _decimal(fps)))
        for frames, fps in i["num_frames_fps"].tolist()
    ]
    automatic = [
        automatic_frames(seconds, _decimal(fps), min_seconds=shortest, max_seconds=longest)
        for seconds, fps, shortest, longest in i["seconds_fps_min_max"].tolist()
    ]
    keyframes = {
        f"even_keyframes_{n}": torch.tensor(even_keyframes(count, frames))
        for n, (count, frames) in enumerate(call["even_keyframes"])
    }
    return keyframes | {
        "latentF_latentH_latentW_audioT": torch.tensor(sizes),
        "snapped_frames": torch.tensor([snap_frames(frames) for frames in i["snap_frames"].tolist()]),
        "frames_from_seconds": torch.tensor(automatic),
    }


def _decimal(number: float) -> float:
    """The decimal number that a float32 was made from."""
    return float(f"{number:.6g}")


@procedure("patchifier")
def tokens_and_positions(case: Case) -> dict[str, Tensor]:
    call = case.call
    outputs = {"patch2_tokens": patchify_video(case.inputs["patch2_latent"], patch=2)}
    counts = {"video": 0, "audio": 0}
    for row in call["cases"]:
        name = f"{row['kind']}{counts[row['kind']]}"
        counts[row["kind"]] += 1
        latent = case.inputs[f"{name}_latent"]
        video = row["kind"] == "video"
        outputs |= {f"{name}_{key}": value for key, value in (_video(latent, row) if video else _audio(latent))}
    grids = {option: VideoGrid(*call[option]["shape"][2:]) for option in ("nocausal", "scale4x16x16")}
    return outputs | {
        "video_nocausal_positions": video_positions(grids["nocausal"], call["nocausal"]["fps"], causal=False),
        "video_scale4x16x16_positions": video_positions(
            grids["scale4x16x16"], call["scale4x16x16"]["fps"], scale=ScaleFactors(time=4, space=16)
        ),
        "audio_noncausal_positions": audio_positions(OPTION_FRAMES, causal=False),
        "audio_shift7_positions": audio_positions(OPTION_FRAMES, shift=7),
    }


def _video(latent: Tensor, row: dict[str, Any]) -> Iterator[tuple[str, Tensor]]:
    batch, grid = latent.shape[0], VideoGrid(*latent.shape[2:])
    tokens, positions = patchify_video(latent), video_positions(grid, row["fps"], batch=batch)
    yield "tokens", tokens
    yield "positions", positions
    yield "positions_pixel_int", video_pixel_bounds(grid).expand(batch, -1, -1, -1)
    yield "denoise_mask", fresh_state(tokens, positions).mask
    yield "keyframes_mask", first_frame_marks(grid, batch=batch)


def _audio(latent: Tensor) -> Iterator[tuple[str, Tensor]]:
    yield "tokens", patchify_audio(latent)
    yield "positions", audio_positions(latent.shape[2], batch=latent.shape[0])


@procedure("scheduler.ltx2")
def token_shifted_schedule(case: Case) -> dict[str, Tensor]:
    call = case.call
    variants = {
        f"variant{i}": ltx2_sigmas(call["variants_steps"], tokens=call["variants_tokens"], **options)
        for i, options in enumerate(call["variants"])
    }
    named = {name: _schedule_of(name) for name in case.output_names if name not in variants}
    return variants | named


def _schedule_of(name: str) -> Tensor:
    """`ltx2_steps{S}_tokens{N|none}`, or `ltx2_steps{S}_shape{a}x{b}x…` of a whole latent."""
    match = re.fullmatch(r"ltx2_steps(\d+)_(tokens|shape)(.+)", name)
    assert match, name
    steps, kind, value = int(match[1]), match[2], match[3]
    if kind == "tokens":
        return ltx2_sigmas(steps, tokens=DEFAULT_TOKENS if value == "none" else int(value))
    tokens = 1
    for size in value.split("x")[2:]:
        tokens *= int(size)
    return ltx2_sigmas(steps, tokens=tokens)


@procedure("scheduler.linear_quadratic,beta,tables")
def other_schedules(case: Case) -> dict[str, Tensor]:
    linear = {
        f"linear_quadratic_{i}": linear_quadratic_sigmas(
            row["steps"], threshold=row.get("threshold_noise", 0.025), linear_steps=row.get("linear_steps")
        )
        for i, row in enumerate(case.call["linear_quadratic"])
    }
    beta = {f"beta_{i}": beta_sigmas(**row) for i, row in enumerate(case.call["beta"])}
    return linear | beta | {name: distilled_sigmas(table) for name, table in TABLES.items()}


@procedure("noiser,x0,velocity,postprocess")
def noise_and_conversions(case: Case) -> dict[str, Tensor]:
    i = case.inputs
    latent, clean, mask, velocity = i["latent"], i["clean_latent"], i["denoise_mask"], i["velocity"]
    sigma: Any = case.call["velocity_sigma"]
    timesteps = mask * i["sigma_batch"][:, None, None]
    x0 = x0_from_velocity(latent, velocity, timesteps)
    noised = {
        f"noised_scale_{scale}": add_noise(latent, clean, mask, i["noise"], scale)
        for scale in case.call["noise_scales"]
    }
    return noised | {
        "timesteps": timesteps,
        "x0_per_token": x0,
        "x0_from_velocity_sigma0.7": x0_from_velocity(latent, velocity, mask.new_tensor(sigma)),
        "velocity_from_x0_sigma0.7": velocity_from_x0(latent, x0, sigma),
        "x0_post_processed": pull_to_clean(x0, clean, mask),
    }
