"""Clips of a checkpoint, straight from its parts, judged and on a sheet for the eye.

`python -m openltx.training.preview CHECKPOINT --clips 48 --sheet sheet.png`. It stands below the nodes and does not run
their workflows: `openltx bench embedded` does.
"""

# N clips, T frames, H height, W width, M mel frames, F mel bins
from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from ..model_loaders.audio_vae import load_audio_decoder, load_audio_encoder
from ..model_loaders.checkpoint import open_checkpoint
from ..model_loaders.text_encoder import TextEncoder, load_text_encoder
from ..model_loaders.transformer import load_transformer
from ..model_loaders.video_vae import load_video_decoder, load_video_encoder
from ..networks.audio_vae import AudioDecoder, AudioEncoder, log_mel
from ..networks.transformer import Stream, Transformer
from ..networks.video_vae.decoder import VideoDecoder
from ..networks.video_vae.encoder import VideoEncoder
from ..networks.video_vae.pixels import to_images
from ..samplers.shapes import VideoGrid, audio_latent_frames, latent_grid
from ..samplers.tokens import audio_positions, unpatchify_audio, unpatchify_video, video_positions
from .judge import ATTRIBUTES, Palette, Verdict, judge, onset_errors, right
from .sheet import save_animation, save_sheet
from .world import Clip, Scene, make_clip, sample_scene
from .world.picture import PALETTE

FPS, SIDE = 24.0, 128
HELD_OUT_SEED = 2 * 10**6
BATCH = 8


@dataclass(frozen=True, kw_only=True)
class Miniature:
    """The networks of a checkpoint that clips and their judge need, in float32 on the CPU."""

    text: TextEncoder
    transformer: Transformer
    video_encoder: VideoEncoder
    video_decoder: VideoDecoder
    audio_encoder: AudioEncoder
    audio_decoder: AudioDecoder


@dataclass(frozen=True, kw_only=True)
class Heard:
    """What the judge is given: frames (T, H, W, 3) in 0..1 and the log-mel (2, M, F)."""

    frames: Tensor
    mel: Tensor


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Of a generated clip; the steps are even, because the published shifts are made for thousands of tokens."""

    frames: int = 49
    steps: int = 20
    guidance: float = 3.0
    seed: int = 10


def open_miniature(path: Path) -> Miniature:
    """Raises CheckpointError for a file that is no complete checkpoint."""
    file = open_checkpoint(path)
    return Miniature(
        text=load_text_encoder(None, file).to(dtype=torch.float32),
        transformer=load_transformer(file).float(),
        video_encoder=load_video_encoder(file).float(),
        video_decoder=load_video_decoder(file).float(),
        audio_encoder=load_audio_encoder(file).float(),
        audio_decoder=load_audio_decoder(file).float(),
    )


def truth_of(clip: Clip) -> Heard:
    """The clip itself, as the judge takes it."""
    return Heard(frames=clip.frames, mel=log_mel(clip.waveform[None])[0])


@torch.inference_mode()
def round_trip(model: Miniature, clip: Clip) -> Heard:
    """The clip through both VAEs: what generated clips can reach at most."""
    video = model.video_decoder.decode(model.video_encoder.encode(clip.video[None]))
    mel = model.audio_decoder(model.audio_encoder(log_mel(clip.waveform[None])))
    return Heard(frames=to_images(video)[0], mel=mel[0])


@torch.inference_mode()
def generate(model: Miniature, captions: Sequence[str], settings: Settings) -> list[Heard]:
    """One clip of 128x128 a caption; guided against the empty caption, Euler's rule."""
    count, grid = len(captions), latent_grid(settings.frames, SIDE, SIDE)
    sounds = audio_latent_frames(settings.frames, FPS)
    config, generator = model.transformer.config, torch.Generator().manual_seed(settings.seed)
    assert config.video is not None
    assert config.audio is not None
    video = torch.randn(count, grid.tokens, config.video.in_channels, generator=generator)
    audio = torch.randn(count, sounds, config.audio.in_channels, generator=generator)
    told, untold = _contexts(model, captions), _contexts(model, [""] * count)
    sigmas = torch.linspace(1, 0, settings.steps + 1)
    for sigma, following in pairwise(sigmas.tolist()):
        with_caption = _velocities(model.transformer, (video, audio), told, sigma, grid)
        without = _velocities(model.transformer, (video, audio), untold, sigma, grid)
        video, audio = (
            latent + (following - sigma) * (u + settings.guidance * (c - u))
            for latent, c, u in zip((video, audio), with_caption, without, strict=True)
        )
    mels = model.audio_decoder(unpatchify_audio(audio, channels=model.audio_decoder.config.latent_channels))
    videos = [model.video_decoder.decode(latent[None]) for latent in unpatchify_video(video, grid)]
    return [Heard(frames=to_images(made)[0], mel=mel) for made, mel in zip(videos, mels, strict=True)]


def _contexts(model: Miniature, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
    encoded = [model.text.encode(caption) for caption in captions]
    return torch.cat([one.video_context for one in encoded]), torch.cat([one.audio_context for one in encoded])


def _velocities(
    transformer: Transformer,
    latents: tuple[Tensor, Tensor],
    contexts: tuple[Tensor, Tensor],
    sigma: float,
    grid: VideoGrid,
) -> tuple[Tensor, Tensor]:
    levels = torch.full((latents[0].shape[0],), sigma)
    positions = video_positions(grid, FPS), audio_positions(latents[1].shape[1])
    streams = [
        Stream(latent=latent, sigma=levels, timesteps=levels[:, None, None], positions=where, context=context)
        for latent, where, context in zip(latents, positions, contexts, strict=True)
    ]
    video, audio = transformer(*streams)
    assert video is not None
    assert audio is not None
    return video, audio


def scores(pairs: Sequence[tuple[Heard, Scene]], *, palette: Palette = PALETTE) -> dict[str, float]:
    """`shares` of clips of one length."""
    verdicts = [judge(heard.frames, heard.mel, FPS, palette=palette) for heard, _ in pairs]
    return shares(verdicts, [scene for _, scene in pairs], seconds=len(pairs[0][0].frames) / FPS)


def shares(verdicts: Sequence[Verdict], scenes: Sequence[Scene], *, seconds: float) -> dict[str, float]:
    """Share of right attributes; of seen events that are heard within 50 ms; of silent clips. seconds: of a clip."""
    found = [right(verdict, scene) for verdict, scene in zip(verdicts, scenes, strict=True)]
    figures = {name: sum(row[name] for row in found) / len(found) for name in ATTRIBUTES}
    errors = [e for v in verdicts for e in onset_errors(v.video_events, v.audio_events, seconds)]
    figures["onsets within 50 ms"] = sum(error <= 0.05 for error in errors) / max(1, len(errors))
    figures["events"] = len(errors)
    figures["silent"] = sum(verdict.silent for verdict in verdicts) / len(verdicts)
    return figures


def held_out_scenes(count: int) -> list[Scene]:
    """Scenes of combinations that training never drew."""
    return [sample_scene(HELD_OUT_SEED + index, held_out=True) for index in range(count)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m openltx.training.preview", description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--clips", type=int, default=16)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--frames", type=int, default=49)
    parser.add_argument("--sheet", type=Path, help="a PNG of the first eight clips")
    parser.add_argument("--animation", type=Path, help="a moving picture (.webp, .gif) of the first eight clips")
    parser.add_argument("--round-trip", action="store_true", help="no generation: the clips through the VAEs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model, scenes = open_miniature(options.checkpoint), held_out_scenes(options.clips)
    settings = Settings(frames=options.frames, steps=options.steps, guidance=options.guidance)
    if options.round_trip:
        made = [round_trip(model, make_clip(scene, frames=settings.frames)) for scene in scenes]
    else:
        batches = [scenes[start : start + BATCH] for start in range(0, len(scenes), BATCH)]
        made = [heard for batch in batches for heard in generate(model, [s.caption for s in batch], settings)]
    truth = [truth_of(make_clip(scene, frames=settings.frames)) for scene in scenes]
    true, seen = ([judge(heard.frames, heard.mel, FPS) for heard in clips] for clips in (truth, made))
    shuffled = [*scenes[1:], scenes[0]]
    for title, verdicts, told in (("truth", true, scenes), ("clips", seen, scenes), ("shuffled", seen, shuffled)):
        figures = shares(verdicts, told, seconds=settings.frames / FPS)
        print(f"{title:9}" + ", ".join(f"{name} {value:.3g}" for name, value in figures.items()))
    if options.sheet is not None:
        rows = [(scene.caption, heard.frames, heard.mel) for scene, heard in zip(scenes, made, strict=True)]
        save_sheet(rows[:8], options.sheet)
    if options.animation is not None:
        save_animation([heard.frames for heard in made[:8]], options.animation)


if __name__ == "__main__":
    main()
