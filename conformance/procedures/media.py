"""Golden cases of the area `media`: still images, resizing, video and audio files.

Registers the rest of the area too: colour, HDR, EXR.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...media.av_reader import read_frames, read_frames_between, read_sound, video_info
from ...media.images import prepare_clip, prepare_image, read_image, recompress
from ...media.resize import (
    aligned_down,
    aligned_up,
    fill_and_crop,
    fit_and_pad,
    frames_first,
    to_long_side,
)
from ...media.sound import int16_codes
from ..case import Case
from ..registry import procedure
from . import media_colour  # noqa: F401


@procedure("media.image", "image_decode")
def image_decode(case: Case) -> dict[str, Tensor]:
    return {name.removeprefix("png_"): _tensor(read_image(_bytes(data))) for name, data in case.inputs.items()}


@procedure("media.image_conditioning", "image_conditioning_crf0")
def image_conditioning(case: Case) -> dict[str, Tensor]:
    call = case.call
    pixels = read_image(_bytes(case.inputs["png"]))
    return {"crf0": prepare_image(pixels, call["height"], call["width"], crf=call["crf"])}


@procedure("media.recompress", "image_recompress")
def image_recompress(case: Case) -> dict[str, Tensor]:
    pixels = case.inputs["image"].cpu().numpy()
    return {f"crf{crf}": _tensor(recompress(pixels, crf)) for crf in case.call["crf"]}


@procedure("media.resize", "resize_crop")
def resize_crop(case: Case) -> dict[str, Tensor]:
    call, i, outputs = case.call, case.inputs, {}
    for index, (height, width) in enumerate(call["targets_hw"]):
        frames = i[f"frames_{index}"]
        outputs[f"crop_{index}"] = frames_first(fill_and_crop(frames, height, width))
        outputs[f"pad_{index}"] = frames_first(fit_and_pad(frames, height, width))
        outputs[f"preprocessed_{index}"] = prepare_clip(frames, height, width)
        outputs[f"still_crop_{index}"] = frames_first(fill_and_crop(frames[:1], height, width))
    sizes, divisor = call["align_inputs_wh"], call["align_divisor"]
    return outputs | {
        f"long_side_{call['long_side']}": to_long_side(i["frames_0"], call["long_side"]),
        "align_pad": torch.tensor([[*aligned_up(w, h, divisor), w, h] for w, h in sizes]),
        "align_crop": torch.tensor([[*aligned_down(w, h, divisor), w, h] for w, h in sizes]),
    }


@procedure("media.video_decode", "video_file_decode")
def video_file_decode(case: Case) -> dict[str, Tensor]:
    source = case.inputs["frames"].cpu()
    with _file(case.inputs["mkv"], ".mkv") as path:
        info = video_info(path)
        outputs = {"metadata": torch.tensor([info.frames, info.height, info.width])}
        for name, selection in case.call.items():
            if isinstance(selection, dict):
                outputs[name] = _selected(path, selection)
                outputs[f"index_{name}"] = _indices(outputs[name], source)
    return outputs


@procedure("media.video_decode", "video_bt709_decode")
def video_bt709_decode(case: Case) -> dict[str, Tensor]:
    with _file(case.inputs["mkv"], ".mkv") as path:
        return {"rgb": read_frames(path).int()}


@procedure("media.audio_decode", "audio_file_decode")
def audio_file_decode(case: Case) -> dict[str, Tensor]:
    outputs = {}
    for name, data in case.inputs.items():
        window = case.call[name.removeprefix("wav_")]
        with _file(data, ".wav") as path:
            sound = read_sound(path, start=window["start_time"], seconds=window["max_duration"])
        if sound is None or sound.sample_rate != window["sampling_rate"]:
            raise ValueError(f"{name}: expected sound at {window['sampling_rate']} Hz, found {sound}")
        outputs[name.removeprefix("wav_")] = sound.waveform[None]
    return outputs


@procedure("media.audio_encode", "audio_int16")
def audio_int16(case: Case) -> dict[str, Tensor]:
    return {"interleaved": torch.from_numpy(int16_codes(case.inputs["waveform"])).int()}


def _selected(path: Path, selection: dict[str, Any]) -> Tensor:
    if selection["fn"] == "by_time":
        return read_frames_between(path, selection["start_time"], selection.get("max_duration"))
    count = selection.get("frame_cap")
    return read_frames(path, first=int(selection.get("starting_frame", 0)), count=None if count is None else int(count))


def _indices(frames: Tensor, source: Tensor) -> Tensor:
    """Which of the source's frames each one is."""
    found = [[index for index, one in enumerate(source) if torch.equal(one, frame)] for frame in frames]
    return torch.tensor([matches[0] if matches else -1 for matches in found])


@contextmanager
def _file(data: Tensor, suffix: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"input{suffix}"
        path.write_bytes(_bytes(data))
        yield path


def _bytes(data: Tensor) -> bytes:
    return data.cpu().numpy().tobytes()


def _tensor(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> Tensor:
    return torch.from_numpy(np.array(pixels))
