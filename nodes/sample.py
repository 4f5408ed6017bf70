"""Sampling: model, conditioning, latent, sigmas → latent."""

from __future__ import annotations

import torch
from torch import Tensor

from ..model_loaders.parts import DiffusionModel
from ..samplers.denoiser import denoiser
from ..samplers.guidance import Guidance
from ..samplers.noise import add_noise, draw_noise
from ..samplers.schedules import check_sigmas
from ..samplers.shapes import VideoGrid
from ..samplers.state import StreamState, fresh_state
from ..samplers.steps import sample_euler
from ..samplers.streams import Streams
from ..samplers.tokens import (
    audio_positions,
    first_frame_marks,
    patchify_audio,
    patchify_video,
    unpatchify_audio,
    unpatchify_video,
    video_positions,
)
from .conditioning import Conditioning, contexts_of
from .host.api import NestedTensor, compute_device, io, progress
from .latents import Latent, frame_rate_of, members
from .predictor import predictor


class Sample(io.ComfyNode):
    """The whole loop of one stage."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXSample",
            display_name="Sample (LTX)",
            category="OpenLTX/sampling",
            description="Denoises video and sound together with Euler's rule.",
            inputs=[
                io.Model.Input("model", tooltip="From Load LTX Model."),
                io.Conditioning.Input("positive", tooltip="What to show and to sound."),
                io.Latent.Input("latent", tooltip="Empty, or a latent to refine."),
                io.Sigmas.Input("sigmas", tooltip="From a schedule node."),
                io.Int.Input(
                    "noise_seed",
                    default=10,
                    min=0,
                    max=2**64 - 1,
                    control_after_generate=True,
                    tooltip="The same seed and settings give the same result on the same machine.",
                ),
                io.Float.Input(
                    "video_cfg",
                    default=3.0,
                    tooltip="Text guidance of the picture; 1: none, and half the time if the sound has none either.",
                    min=0.0,
                    max=50.0,
                    step=0.1,
                ),
                io.Float.Input(
                    "audio_cfg",
                    default=7.0,
                    min=0.0,
                    max=50.0,
                    step=0.1,
                    tooltip="Text guidance of the sound; 1: none.",
                ),
                io.Conditioning.Input(
                    "negative", optional=True, tooltip="What to stay away from; needed for guidance above 1."
                ),
            ],
            outputs=[io.Latent.Output("latent", tooltip="Video and audio latent.")],
        )

    @classmethod
    def execute(
        cls,
        model: DiffusionModel,
        positive: Conditioning,
        latent: Latent,
        sigmas: Tensor,
        noise_seed: int,
        video_cfg: float,
        audio_cfg: float,
        negative: Conditioning | None = None,
    ) -> io.NodeOutput:
        sigmas = check_sigmas(sigmas)
        states = noised_states(latent, noise_seed, float(sigmas[0]), compute_device())
        transformer = model.transformer.on(compute_device())
        marks = _first_frame_marks(latent)
        conditioned = predictor(transformer, contexts_of(positive, model, "positive"), states, marks)
        unconditioned = (
            None
            if negative is None
            else predictor(transformer, contexts_of(negative, model, "negative"), states, marks)
        )
        guidance = Streams(video=Guidance(cfg=video_cfg), audio=Guidance(cfg=audio_cfg))
        bar = progress(len(sigmas) - 1)
        denoised = sample_euler(
            denoiser(states, guidance, conditioned, unconditioned),
            states.map(lambda state: state.latent),
            sigmas,
            lambda report: bar.update_absolute(report.index + 1),
        )
        return io.NodeOutput({**latent, "samples": _to_latents(denoised, members(latent))})


def noised_states(latent: Latent, seed: int, level: float, device: torch.device) -> Streams[StreamState]:
    """Both streams of a LATENT as token states with noise of `level` in them (sampling.md sections 2 and 3)."""
    pair, rate = members(latent), frame_rate_of(latent)
    assert pair.video is not None
    assert pair.audio is not None
    noise = _to_tokens(draw_noise(seed, pair.map(lambda member: member.shape)))
    positions = Streams(
        video=video_positions(VideoGrid(*pair.video.shape[2:]), rate), audio=audio_positions(pair.audio.shape[2])
    )

    def state(tokens: Tensor, where: Tensor, drawn: Tensor) -> StreamState:
        fresh = fresh_state(tokens.to(device, torch.float32), where.to(device))
        noised = add_noise(fresh.latent, fresh.clean, fresh.mask, drawn, level)
        return StreamState(latent=noised, clean=fresh.clean, mask=fresh.mask, positions=fresh.positions)

    return _to_tokens(pair).map(state, positions, noise)


def _first_frame_marks(latent: Latent) -> Tensor:
    video = members(latent).video
    assert video is not None
    return first_frame_marks(VideoGrid(*video.shape[2:]))


def _to_tokens(pair: Streams[Tensor]) -> Streams[Tensor]:
    assert pair.video is not None
    assert pair.audio is not None
    return Streams(video=patchify_video(pair.video), audio=patchify_audio(pair.audio))


def _to_latents(tokens: Streams[Tensor], like: Streams[Tensor]) -> NestedTensor:
    assert tokens.video is not None
    assert tokens.audio is not None
    assert like.video is not None
    assert like.audio is not None
    video = unpatchify_video(tokens.video, VideoGrid(*like.video.shape[2:]))
    audio = unpatchify_audio(tokens.audio, channels=like.audio.shape[1])
    return NestedTensor([video.cpu(), audio.cpu()])
