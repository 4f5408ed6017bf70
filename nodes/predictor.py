"""Between the samplers, which see a velocity prediction, and the transformer, which sees streams."""

from __future__ import annotations

from torch import Tensor

from ..networks.transformer import Stream, Transformer
from ..samplers.denoiser import PredictVelocity
from ..samplers.state import StreamState
from ..samplers.streams import Streams


def predictor(
    transformer: Transformer, contexts: Streams[Tensor], states: Streams[StreamState], keyframes_mask: Tensor
) -> PredictVelocity:
    """The velocity prediction of `transformer` under one conditioning.

    contexts (1, S, D) a stream; keyframes_mask (1, T, 1) of the video tokens. What stays the same from step to step
    (rotary tables, projected text) is computed at the first call and kept.
    """
    dtype = transformer.dtype

    def stream(latent: Tensor, timesteps: Tensor, sigma: Tensor, context: Tensor, state: StreamState) -> Stream:
        return Stream(
            latent=latent.to(dtype),
            sigma=sigma,
            timesteps=timesteps,
            positions=state.positions,
            context=context.to(latent.device, dtype).expand(latent.shape[0], -1, -1),
            keyframes_mask=keyframes_mask.to(latent.device) if state is states.video else None,
        )

    prepared = None

    def predict(latents: Streams[Tensor], timesteps: Streams[Tensor], sigmas: Streams[Tensor]) -> Streams[Tensor]:
        nonlocal prepared
        streams = latents.map(stream, timesteps, sigmas, contexts, states)
        if prepared is None:
            prepared = transformer.prepare(streams.video, streams.audio)
        video, audio = transformer(streams.video, streams.audio, prepared=prepared)
        return Streams(video=video, audio=audio)

    return predict
