"""What a shot gives the model besides its text, as the conditioning nodes put it into a latent."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...media.av_reader import read_frames_at, read_sound
from ...media.pictures import read_picture
from ...media.retime import exact_rate
from ...model_loaders.lora.model import with_lora
from ...model_loaders.lora.strengths import LoraStrengths
from ...model_loaders.parts import AudioPart, DiffusionModel, VideoPart
from ...samplers.conditioning import ReferenceFactors
from ...samplers.shapes import pixel_frames
from ...shots.film import LoraChoice, Picture
from ...shots.timeline import Take
from ..given_items import ReferenceVoice
from ..image_items import ConditionImage, ConditionReference
from ..latents import Latent, frame_rate_of, layout_of

WHITE = (1.0, 1.0, 1.0)


def lora_model(model: DiffusionModel, loras: tuple[LoraChoice, ...]) -> tuple[DiffusionModel, ReferenceFactors]:
    """The model with a shot's LoRAs, in the hands of the same host; and the factors that an IC-LoRA's reference has."""
    factors, made = ReferenceFactors(), model
    for choice in loras:
        made, report = with_lora(made, choice.path, LoraStrengths().scaled(choice.strength))
        if report.reference_downscale_factor > 1 or report.reference_temporal_scale_factor > 1:
            factors = ReferenceFactors(
                space=report.reference_downscale_factor, time=report.reference_temporal_scale_factor
            )
    return (model.transformer.with_host(made) if loras else model), factors


def with_content(
    latent: Latent, take: Take, video_vae: VideoPart | None, audio_vae: AudioPart | None, factors: ReferenceFactors
) -> Latent:
    """The latent of a take with its pictures, control clip and voices; what encodes them is there."""
    shot, lead = take.shot, take.whole - take.frames
    offset = pixel_frames(lead) if lead else 0
    for picture in shot.pictures:
        frame = min(_frame(picture, take, frame_rate_of(latent)), take.pixels - 1) + offset
        image = read_picture(picture.path, background=WHITE)[None]
        assert video_vae is not None
        latent = ConditionImage.execute(latent, video_vae, image, frame, picture.strength, "recipe", -1).args[0]
    if shot.control is not None:
        frames = _clip(shot.control.path, shot.control.start, take, frame_rate_of(latent), offset)
        latent = _referred(latent, video_vae, frames, factors, shot.control.strength, shot.control.attention)
    for path in shot.references:
        frames = read_picture(path, background=WHITE)[None].expand(layout_of(latent).frames, -1, -1, -1)
        latent = _referred(latent, video_vae, frames, factors)
    for path in shot.voices:
        latent = ReferenceVoice.execute(latent, 1.0, audio_vae, sound_of(path)).args[0]
    return latent


def sound_of(path: Any, start: float = 0.0, seconds: float | None = None) -> dict[str, Any]:
    """AUDIO of a file, from `start` seconds on; time before it begins and after its end is silent.

    ValueError for a file without sound.
    """
    sound = read_sound(path, start=max(start, 0.0), seconds=None if seconds is None else seconds + min(start, 0.0))
    if sound is None and start <= 0:
        raise ValueError(f"{path}: expected a sound track, found none; choose another file")
    if sound is None:  # behind its end
        return {"waveform": torch.zeros(1, 2, round((seconds or 1.0) * 48000)), "sample_rate": 48000}
    before = round(max(-start, 0.0) * sound.sample_rate)
    waveform = torch.nn.functional.pad(sound.waveform, (before, 0))
    if seconds is not None:
        missing = round(seconds * sound.sample_rate) - waveform.shape[1]
        waveform = torch.nn.functional.pad(waveform, (0, max(missing, 0)))
    return {"waveform": waveform[None], "sample_rate": sound.sample_rate}


def _frame(picture: Picture, take: Take, fps: float) -> int:
    """The pixel frame of a picture in its shot."""
    if isinstance(picture.at, str):
        return 0 if picture.at == "first" else take.pixels - 1
    return round(picture.at.frames(fps))


def _clip(path: Any, start: float, take: Take, fps: float, offset: int) -> Tensor:
    """Frames of a control clip beside a take; a continued take's lead is shown the first one."""
    frames = read_frames_at(path, exact_rate(fps), start=start, seconds=take.pixels / fps, deep=True) / 255.0
    return torch.cat([frames[:1].expand(offset, -1, -1, -1), frames])


def _referred(
    latent: Latent,
    vae: VideoPart | None,
    frames: Tensor,
    factors: ReferenceFactors,
    strength: float = 1.0,
    seen: float = 1.0,
) -> Latent:
    settings = (factors.space, factors.time, strength, seen)
    made: Latent = ConditionReference.execute(latent, *settings, video_vae=vae, images=frames).args[0]
    return made


def refuse_missing_vaes(take: Take, video_vae: VideoPart | None, audio_vae: AudioPart | None) -> None:
    """ValueError, with the shot and its line, where a shot gives what nothing here can encode."""
    shot = take.shot
    if video_vae is None and (shot.pictures or shot.control or shot.references):
        _refuse_missing(take, "video_vae", "pictures and clips")
    if audio_vae is None and (shot.audio or shot.voices):
        _refuse_missing(take, "audio_vae", "sounds and voices")


def _refuse_missing(take: Take, name: str, what: str) -> None:
    raise ValueError(
        f"line {take.shot.line}: shot {take.shot.name!r}: {what} need a VAE, found none; connect {name} to the "
        "node that samples"
    )
