"""Sampling: model, conditioning, latent, sigmas → latent."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..model_loaders.parts import DiffusionModel
from ..samplers.denoiser import Denoiser
from ..samplers.guidance import Guidance
from ..samplers.noise import draw_noise
from ..samplers.schedules import check_sigmas
from ..samplers.state import StreamState, audio_state, end_stage, noised, video_state
from ..samplers.steps import sample_euler
from ..samplers.streams import Streams
from ..samplers.tokens import patchify_audio, patchify_video
from .conditioning import Conditioning, contexts_of
from .host.api import compute_device, io, progress
from .latents import Latent, frame_rate_of, joined, members
from .predictor import Texts, predictor


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
        texts = Texts(
            positive=contexts_of(positive, model, "positive"),
            negative=Streams() if negative is None else contexts_of(negative, model, "negative"),
        )
        states = noised_states(latent, noise_seed, float(sigmas[0]), compute_device())
        transformer = model.transformer.on(compute_device())
        denoise = Denoiser(
            states,
            Streams(video=Guidance(cfg=video_cfg), audio=Guidance(cfg=audio_cfg)),
            predictor(transformer, texts, states),
            negative=texts.negative.map(lambda _: True),
        )
        bar = progress(len(sigmas) - 1)
        denoised = sample_euler(
            denoise,
            states.map(lambda state: state.latent),
            sigmas,
            lambda report: bar.update_absolute(report.index + 1, report.total),
        )
        return io.NodeOutput({**latent, "samples": joined(_to_latents(denoised, states))})


def noised_states(latent: Latent, seed: int, level: float, device: torch.device) -> Streams[StreamState]:
    """The streams of a LATENT as token states with noise of `level` in them (sampling.md sections 2 and 3)."""
    pair = members(latent)
    noise = _to_tokens(draw_noise(seed, pair.map(lambda member: member.shape)))
    start = pair.map(lambda member: member.to(device, torch.float32))
    states = Streams(
        video=None if start.video is None else video_state(start.video, frame_rate_of(latent)),
        audio=None if start.audio is None else audio_state(start.audio),
    )
    return states.map(lambda state, drawn: noised(state, drawn, level), noise)


def _to_tokens(pair: Streams[Tensor]) -> Streams[Tensor]:
    return Streams(
        video=None if pair.video is None else patchify_video(pair.video),
        audio=None if pair.audio is None else patchify_audio(pair.audio),
    )


def _to_latents(denoised: Streams[Tensor], states: Streams[StreamState]) -> Streams[Tensor]:
    """Latents on the CPU, as they travel on the wires."""
    return denoised.map(lambda tokens, state: end_stage(replace(state, latent=tokens)).latent.cpu(), states)
