"""Clips of the model as it is while it trains: Euler's rule, guided against the empty caption, written as files."""

# B batch, N tokens, C features, S text tokens
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ...media.av_writer import write_av
from ...networks.audio_vae import decode_audio
from ...networks.transformer import Stream, Transformer
from ...networks.video_vae.pixels import to_images
from ...samplers.denoiser import Denoiser, Predict
from ...samplers.guidance import Guidance, Pass
from ...samplers.schedules import ltx2_sigmas
from ...samplers.state import StreamState, end_stage, noised
from ...samplers.steps.euler import sample_euler
from ...samplers.streams import Streams
from .config import LoraConfig
from .precompute import Cache, open_encoders
from .strategies import Latents, clean_states, moved, stream_of


def sample_captions(config: LoraConfig) -> tuple[str, ...]:
    """Captions that samples need besides those of the clips."""
    return ("", *config.samples.prompts)


def write_samples(config: LoraConfig, transformer: Transformer, cache: Cache, folder: Path, *, step: int) -> list[Path]:
    """One file a prompt, or a clip of the data; the decoders are read for it and let go."""
    wanted = config.samples.prompts or [caption for _, caption in cache.clips[: config.samples.count]]
    latents = [
        sampled(config, transformer, cache, caption, row=index % len(cache.clips), seed=config.samples.seed + index)
        for index, caption in enumerate(wanted)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    device, parts = next(transformer.parameters()).device, open_encoders(config)
    paths = []
    with torch.no_grad():
        for index, made in enumerate(latents):
            sound, rate = None, 48000
            if made.audio is not None and parts.audio is not None:
                decoder, vocoder = parts.audio.decoder.on(device), parts.audio.vocoder.on(device)
                waveform, rate = decode_audio(decoder, vocoder, made.audio.to(device))
                sound = waveform[0].cpu()
            chunks = parts.video.decoder.on(device).decode_stream(made.video.to(device))
            path = folder / f"step_{step:06}_{index + 1}.mp4"
            paths.append(write_av(path, _images(chunks), frame_rate=config.data.fps, waveform=sound, sample_rate=rate))
    return paths


def _images(chunks: Iterator[Tensor]) -> Iterator[Tensor]:
    for chunk in chunks:
        yield to_images(chunk)[0].float().cpu()


@torch.no_grad()
def sampled(
    config: LoraConfig, transformer: Transformer, cache: Cache, caption: str, *, row: int, seed: int
) -> Latents:
    """Latents of a new clip. row: the clip whose size, and for i2v and v2v first frame and reference, it takes."""
    device, samples = next(transformer.parameters()).device, config.samples
    clips = moved(cache.latents(row), device)
    first = clips.video[:, :, :1] if config.lora.strategy == "i2v" else None
    empty = Latents(
        video=torch.zeros_like(clips.video),
        audio=None if clips.audio is None else torch.zeros_like(clips.audio),
        reference=clips.reference,
    )
    states = clean_states(empty, fps=config.data.fps, first_frame=first, factors=config.lora.factors)
    generator = torch.Generator().manual_seed(seed)
    sigmas = ltx2_sigmas(samples.steps) if samples.schedule == "ltx2" else torch.linspace(1, 0, samples.steps + 1)
    states = states.map(
        lambda state: noised(state, torch.randn(state.latent.shape, generator=generator).to(device), 1.0)
    )
    denoise = Denoiser(
        states,
        states.map(lambda _: Guidance(cfg=samples.guidance)),
        _predict(transformer, states, cache.contexts(caption), cache.contexts("")),
        negative=states.map(lambda _: True),
    )
    made = sample_euler(denoise, states.map(lambda state: state.latent), sigmas)
    ended = states.map(lambda state, tokens: end_stage(replace(state, latent=tokens)).latent, made)
    assert ended.video is not None
    return Latents(video=ended.video, audio=ended.audio)


def _predict(
    transformer: Transformer, states: Streams[StreamState], told: Streams[Tensor], untold: Streams[Tensor]
) -> Predict:
    """Velocities of each pass, one after the other."""

    def velocities(
        passes: Sequence[Pass], latents: Streams[Tensor], timesteps: Streams[Tensor], sigmas: Streams[Tensor], /
    ) -> list[Streams[Tensor]]:
        def stream(
            state: StreamState, latent: Tensor, levels: Tensor, sigma: Tensor, yes: Tensor, no: Tensor, positive: bool
        ) -> Stream:
            return stream_of(state, latent, levels, sigma, yes if positive else no, transformer.dtype)

        made = [states.map(stream, latents, timesteps, sigmas, told, untold, a_pass.positive) for a_pass in passes]
        return [Streams(*transformer(streams.video, streams.audio)) for streams in made]

    return velocities
