"""Clips and captions -> latents and contexts on disk, once: a file a clip and a file a caption, named by what made it.

A name is the hash of the content of the media file, of the settings and of the models' files: whatever changes, the
file has another name and is made anew. One clip is in memory at a time, and one network a pass.
"""

# C latent channels, F H W latent cells, T audio latent frames, f latent bins, S text tokens
from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from einops import rearrange
from torch import Tensor

from ...media.av_reader import read_frames_at, read_sound
from ...media.images import prepare_clip, read_image
from ...model_loaders.parts import (
    AudioPart,
    TextPart,
    VideoPart,
    open_audio,
    open_model,
    open_text,
    open_video,
    refuse_mixed,
)
from ...networks.audio_vae import encode_audio
from ...samplers.conditioning import fit_audio_latent, reference_frames, reference_size
from ...samplers.shapes import audio_latent_frames, snap_frames
from ...samplers.streams import Streams
from ..store import Store
from .config import LoraConfig
from .dataset import DataClip, find_clips, is_picture
from .strategies import Latents

FORMAT = 1  # of the cached files: another number makes all of them anew
CHUNK = 16 * 2**20
LATE = 1.0  # seconds at most before the first frame of a file
Watch = Callable[[str, int, int], None]
"""Told what is done, and how much of how much; may raise to stop between two files."""


@dataclass(frozen=True, kw_only=True)
class Cache:
    """What training reads. clips: (name of the latents, caption) of each; texts: {caption: name of its contexts}."""

    store: Store
    clips: tuple[tuple[str, str], ...]
    texts: Mapping[str, str]

    def latents(self, index: int) -> Latents:
        """Of one clip, batch of one."""
        found = self.store.load(self.clips[index][0])
        return Latents(video=found["video"], audio=found.get("audio"), reference=found.get("reference"))

    def contexts(self, caption: str) -> Streams[Tensor]:
        """(1, S, D) of both streams."""
        found = self.store.load(self.texts[caption])
        return Streams(video=found["video"], audio=found["audio"])


@dataclass(frozen=True, kw_only=True)
class Encoders:
    """The parts that make latents; only headers are read until something is missing in the cache."""

    video: VideoPart
    audio: AudioPart | None


def open_encoders(config: LoraConfig) -> Encoders:
    """ValueError, one line, for files that are none or not of the checkpoint's generation."""
    files, dtype = config.model, getattr(torch, config.training.precision)
    model = open_model(files.checkpoint, dtype=dtype)
    video = open_video(files.video_vae or files.checkpoint, dtype=dtype)
    audio = open_audio(files.audio_vae or files.checkpoint) if config.data.audio else None
    if files.video_vae is not None:
        refuse_mixed(model, video.generation, "model.video_vae")
    if files.audio_vae is not None and audio is not None:
        refuse_mixed(model, audio.generation, "model.audio_vae")
    return Encoders(video=video, audio=audio)


def open_captions(config: LoraConfig) -> TextPart:
    """ValueError, one line, for a text encoder that is none or not the checkpoint's."""
    files, dtype = config.model, getattr(torch, config.training.precision)
    return open_text(files.text_encoder, files.checkpoint, dtype=dtype)


def fill_cache(config: LoraConfig, *, watch: Watch, device: torch.device, extra: Iterable[str] = ()) -> Cache:
    """Make what is missing of the cache in OUTPUT/cache. extra: captions that no clip has.

    Raises ValueError, one line with the file's name, for whatever cannot be used.
    """
    clips, store = find_clips(config.data.folder, config.data.references), Store(folder=config.output / "cache")
    open_captions(config)  # what is wrong with it shows now, not after the clips
    names = _fill_clips(clips, store, config, watch, device)
    texts = _fill_texts([*(clip.caption for clip in clips), *extra], store, config, watch, device)
    captions = [clip.caption for clip in clips]
    return Cache(store=store, clips=tuple(zip(names, captions, strict=True)), texts=texts)


def _fill_clips(
    clips: Sequence[DataClip], store: Store, config: LoraConfig, watch: Watch, device: torch.device
) -> list[str]:
    encoders = open_encoders(config)
    vaes = [_identity(part.path) for part in (encoders.video, encoders.audio) if part is not None]
    names = [f"clips/{_clip_name(clip, config, vaes)}" for clip in clips]
    wanted = {name: clip for name, clip in zip(names, clips, strict=True) if not store.has(name)}
    for index, (name, clip) in enumerate(wanted.items()):
        watch("encoding clips", index, len(wanted))
        store.save(name, encoded(clip, config, encoders, device))
    return names


def _fill_texts(
    captions: Sequence[str], store: Store, config: LoraConfig, watch: Watch, device: torch.device
) -> dict[str, str]:
    texts, part = _text_names(captions, config), open_captions(config)
    missing = {text: name for text, name in texts.items() if not store.has(name)}
    for index, (text, name) in enumerate(missing.items()):
        watch("encoding captions", index, len(missing))
        found = part.encoder.on(device).encode(text)
        store.save(name, {"video": found.video_context.cpu(), "audio": found.audio_context.cpu()})
    return texts


@torch.no_grad()
def encoded(clip: DataClip, config: LoraConfig, encoders: Encoders, device: torch.device) -> dict[str, Tensor]:
    """video (1, C, F, H, W), audio (1, C, T, f) and reference, where the settings ask for them; float32, CPU."""
    data = config.data
    encoder = encoders.video.encoder.on(device)

    def latent_of(frames: Tensor, height: int, width: int) -> Tensor:
        latent: Tensor = encoder.encode(prepare_clip(frames, height, width).to(device))
        return latent.float().cpu()

    made = {"video": latent_of(read_clip(clip.media, config), data.height, data.width)}
    if encoders.audio is not None:
        made["audio"] = _sound_latent(clip.media, config, encoders.audio, device)
    if clip.reference is not None:
        kept = reference_frames(data.frames, config.lora.factors)
        kept = kept[: snap_frames(len(kept))]
        size = reference_size(data.height, data.width, config.lora.factors)
        made["reference"] = latent_of(read_clip(clip.reference, config)[kept], *size)
    return made


def read_clip(path: Path, config: LoraConfig) -> Tensor:
    """The first frames of a file at the data's rate, uint8 (F, h, w, 3). ValueError where it is shorter."""
    if is_picture(path):
        frames = rearrange(torch.from_numpy(read_image(path).copy()), "h w c -> 1 h w c")
    else:
        seconds = config.data.frames / config.data.fps + LATE  # no more of a long file is decoded
        frames = read_frames_at(path, config.data.fps, seconds=seconds)[: config.data.frames]
    if len(frames) < config.data.frames:
        raise ValueError(
            f"{path}: expected at least {config.data.frames} frames at {config.data.fps:g} a second, found "
            f"{len(frames)}; leave it out, or make data.frames smaller"
        )
    return frames


def _sound_latent(path: Path, config: LoraConfig, part: AudioPart, device: torch.device) -> Tensor:
    seconds = config.data.frames / config.data.fps
    sound = None if is_picture(path) else read_sound(path, seconds=seconds)
    if sound is None:
        raise ValueError(f"{path}: expected sound, found a silent clip; leave it out, or set data.audio = false")
    missing = max(0, round(seconds * sound.sample_rate) - sound.waveform.shape[1])
    waveform = torch.nn.functional.pad(sound.waveform, (0, missing))[None].to(device)
    latent = encode_audio(part.encoder.on(device), waveform, sound.sample_rate).cpu()
    return fit_audio_latent(latent, audio_latent_frames(config.data.frames, config.data.fps), pad=True)


def _clip_name(clip: DataClip, config: LoraConfig, models: list[str]) -> str:
    data, factors = config.data, config.lora.factors
    settings = [FORMAT, data.width, data.height, data.frames, data.fps, data.audio, config.training.precision, *models]
    files = [clip.media] if clip.reference is None else [clip.media, clip.reference]
    if clip.reference is not None:
        settings += [factors.space, factors.time]
    return _hash(settings, files)


def _text_names(texts: Iterable[str], config: LoraConfig) -> dict[str, str]:
    files = [path for path in (config.model.text_encoder, config.model.checkpoint) if path is not None]
    models = [_identity(path) for path in files]
    settings = [FORMAT, config.training.precision, *models]
    return {text: f"texts/{_hash([*settings, text], [])}" for text in texts}


def _hash(settings: Iterable[object], files: Iterable[Path]) -> str:
    """Of the settings and of every byte of the files."""
    digest = hashlib.sha256(json.dumps(list(settings)).encode())
    for path in files:
        with path.open("rb") as stream:
            while chunk := stream.read(CHUNK):
                digest.update(chunk)
    return digest.hexdigest()[:32]


def _identity(path: Path) -> str:
    """A model's file or folder without reading it: models are too large to hash each time."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return " ".join(f"{file.name} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in files)
