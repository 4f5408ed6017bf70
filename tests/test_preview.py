"""Previews: matrices that are fitted to a decoder, from what it decodes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from openltx.networks.audio_vae.decoder import decode_mel
from openltx.nodes.load import INSIDE, LoadModel
from openltx.samplers.preview import (
    audio_envelope,
    fit_envelope,
    fit_linear,
    fit_preview,
    preview_frames,
    random_latents,
)

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def parts() -> Any:
    return LoadModel.execute("openltx-tiny-2.3.safetensors", INSIDE, "float32").args


def _randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_linear_decoder_is_found_again() -> None:
    matrix = _randn(5, 3) * 0.2

    def decode(latent: Tensor) -> Tensor:
        colours = torch.einsum("bcfhw,cd->bdfhw", latent, matrix) + 0.1
        return colours.repeat_interleave(32, dim=3).repeat_interleave(32, dim=4)

    colours = fit_preview(decode, random_latents(5, count=3, cells=8))
    assert colours.error < 0.01
    latent = 0.5 * _randn(2, 5, 3, 4, 6, seed=3)
    frames = preview_frames(latent, colours, sample=1)
    assert (frames.shape, frames.dtype) == ((3, 4, 6, 3), torch.uint8)
    expected = ((torch.einsum("cfhw,cd->fhwd", latent[1], matrix) + 1.1) / 2).clamp(0, 1) * 255
    assert float((frames.float() - expected).abs().max()) < 3


def test_a_preview_resembles_what_a_decoder_makes_that_is_not_linear() -> None:
    matrix, detail = _randn(16, 3) * 0.3, _randn(1, 3, 1, 32, 32, seed=8) * 0.1

    def decode(latent: Tensor) -> Tensor:
        colours = torch.tanh(torch.einsum("bcfhw,cd->bdfhw", latent, matrix))
        soft = torch.nn.functional.interpolate(colours[:, :, 0], scale_factor=32, mode="bilinear")
        return soft[:, :, None] + detail.tile(1, 1, 1, latent.shape[3], latent.shape[4])

    colours = fit_preview(decode, random_latents(16, cells=8))
    unseen = random_latents(16, count=3, cells=8, seed=9)[2:]  # a smooth one, as real ones are
    cells = torch.nn.functional.avg_pool2d((decode(unseen)[0, :, 0] + 1) / 2, 32)
    shown = preview_frames(unseen, colours)[0].permute(2, 0, 1) / 255
    plain = (cells - cells.mean((1, 2), keepdim=True)).square().mean()
    assert float((cells - shown).square().mean()) < 0.25 * float(plain)


def test_matrices_are_fitted_to_the_networks_of_a_checkpoint(parts: Any) -> None:
    """Its decoders may be untrained, and then say nothing: a fit is still no worse than one value for all."""
    video, audio = parts[2].decoder.on(CPU), parts[3].decoder.on(CPU)
    latents = random_latents(parts[0].video_channels, count=3, cells=4)
    sound = _randn(3, parts[0].audio_channels, 25, 16)
    with torch.inference_mode():
        colours = fit_preview(video.decode, latents)
        loudness = fit_envelope(lambda latent: decode_mel(audio, latent), sound)
        pictures = torch.cat([video.decode(latent[None]) for latent in latents])
        mel = torch.cat([decode_mel(audio, latent[None]) for latent in sound])
    assert colours.error <= float(torch.nn.functional.avg_pool2d(pictures[:, :, 0] / 2, 32).std())
    assert loudness.error <= float(mel.mean((1, 3)).std())
    assert preview_frames(_randn(1, parts[0].video_channels, 2, 3, 5), colours).shape == (2, 3, 5, 3)
    assert audio_envelope(sound, loudness).shape == (25,)


def test_an_envelope_follows_the_loudness_of_what_is_decoded() -> None:
    weights = _randn(2 * 4, seed=4)

    def decode(latent: Tensor) -> Tensor:
        loud = torch.einsum("bctf,cf->bt", latent, weights.reshape(2, 4))
        return loud.repeat_interleave(4, dim=1)[:, 3:, None].expand(-1, -1, 64)[:, None]

    loudness = fit_envelope(decode, _randn(4, 2, 25, 4))
    latent = _randn(2, 2, 40, 4, seed=5)
    curve = audio_envelope(latent, loudness, sample=1)
    assert curve.shape == (40,)
    assert (float(curve.min()), float(curve.max())) == (0.0, 1.0)
    real = torch.einsum("ctf,cf->t", latent[1], weights.reshape(2, 4))
    assert float(torch.corrcoef(torch.stack([curve, real]))[0, 1]) > 0.95
    assert audio_envelope(torch.zeros(1, 2, 5, 4), loudness).tolist() == [1.0] * 5


def test_random_latents_are_coarse_and_fine_and_the_same_for_a_seed() -> None:
    latents = random_latents(4, count=3, cells=16)
    assert latents.shape == (3, 4, 1, 16, 16)
    assert torch.equal(latents, random_latents(4, count=3, cells=16))
    steps = (latents[..., 1:] - latents[..., :-1]).square().mean((1, 2, 3, 4))
    assert steps[0] > steps[1] > steps[2]


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="more than 5 samples with a target each, found 5 and 5"):
        fit_linear(_randn(5, 5), _randn(5, 3))
    with pytest.raises(ValueError, match="found 9 and 8"):
        fit_linear(_randn(9, 5), _randn(8, 3))
