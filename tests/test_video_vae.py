"""Video VAE: exact streaming, memory, gradients, rearrangements, refusals. Files: test_video_vae_files.py."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from openltx.model_loaders.assemble import build_on_meta
from openltx.networks.video_vae import decoder as decoder_module
from openltx.networks.video_vae import encoder as encoder_module
from openltx.networks.video_vae.config import PADDING_MODES, BlockConfig, VideoDecoderConfig, VideoEncoderConfig
from openltx.networks.video_vae.convolution import CausalConv3d
from openltx.networks.video_vae.decoder import DecoderNoise, VideoDecoder
from openltx.networks.video_vae.encoder import VideoEncoder
from openltx.networks.video_vae.pixels import depth_to_space, patchify, space_to_depth, unpatchify
from openltx.networks.video_vae.streaming import Stream, seeded_draw


def block(kind: str, **fields: Any) -> BlockConfig:
    return BlockConfig(kind=kind, **fields)


SHUFFLES_2 = (
    block("res_x", num_layers=1),
    block("compress_all", multiplier=2, residual=True),
    block("res_x", num_layers=2),
    block("compress_all", multiplier=2, residual=True),
    block("res_x", num_layers=1),
)
SHUFFLES_23 = (
    block("res_x", num_layers=2),
    block("compress_all", multiplier=1),
    block("res_x", num_layers=1),
    block("compress_time", multiplier=2),
    block("compress_space", multiplier=2),
    block("res_x", num_layers=1),
)
RARE = (
    block("res_x", num_layers=1, inject_noise=True),
    block("attn"),
    block("res_x_y", multiplier=2),
    block("compress_time"),
)
DOWN = (
    block("res_x", num_layers=1),
    block("compress_space_res", multiplier=2),
    block("compress_time_res", multiplier=2),
    block("res_x", num_layers=2),
    block("compress_all_res", multiplier=1),
)
RARE_DOWN = (
    block("attn"),
    block("compress_time"),
    block("res_x_y", multiplier=2),
    block("compress_space"),
    block("compress_all_x_y", multiplier=2),
)


def decoder_config(blocks: tuple[BlockConfig, ...], **changes: Any) -> VideoDecoderConfig:
    fields: dict[str, Any] = {
        "out_channels": 3,
        "latent_channels": 4,
        "base_channels": 4,
        "patch_size": 2,
        "blocks": blocks,
        "padding": "zeros",
        "causal": False,
        "timestep_conditioning": False,
    }
    return VideoDecoderConfig(**(fields | changes))


def encoder_config(blocks: tuple[BlockConfig, ...], **changes: Any) -> VideoEncoderConfig:
    fields: dict[str, Any] = {
        "in_channels": 3,
        "latent_channels": 8,
        "patch_size": 2,
        "blocks": blocks,
        "padding": "zeros",
        "log_variance": "uniform",
    }
    return VideoEncoderConfig(**(fields | changes))


def with_random_weights(network: nn.Module) -> Any:
    generator = torch.Generator().manual_seed(1)
    for name, tensor in network.state_dict().items():
        tensor.normal_(generator=generator)
        if name.endswith("std-of-means"):
            tensor.abs_().add_(0.5)
        elif tensor.ndim > 2:
            tensor.div_(tensor[0].numel() ** 0.5)
    return network.eval().requires_grad_(False)


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def same_noise() -> DecoderNoise:
    return DecoderNoise(draw=seeded_draw(3))


# --- exact streaming -------------------------------------------------------------------------------------------------

DECODERS = {
    "2": decoder_config(SHUFFLES_2, padding="reflect"),
    "2 conditioned": decoder_config(SHUFFLES_2, padding="reflect", timestep_conditioning=True),
    "2.3": decoder_config(SHUFFLES_23),
    "causal": decoder_config(SHUFFLES_23, causal=True, padding="replicate"),
    "rare blocks": decoder_config(RARE, padding="circular"),
    "no blocks": decoder_config(()),
}
ENCODERS = {
    "published": encoder_config(DOWN),
    "reflect": encoder_config(DOWN, padding="reflect", log_variance="per_channel"),
    "rare blocks": encoder_config(RARE_DOWN, padding="circular"),
    "no blocks": encoder_config(()),
}


@pytest.mark.parametrize("limit", [2**27, 2000, 1])
@pytest.mark.parametrize("name", DECODERS)
def test_streamed_decode_is_the_untiled_forward(name: str, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder_module, "piece_elements", lambda _: limit)
    decoder = with_random_weights(VideoDecoder(DECODERS[name]))
    for frames in (1, 2, 3, 6):
        latent = random(2, 4, frames, 2, 3)
        want = decoder(latent, noise=same_noise())
        assert want.shape[2] == decoder.config.factors[0] * (frames - 1) + 1
        for chunk in (1, 2, frames + 1):
            parts = list(decoder.decode_stream(latent, chunk=chunk, noise=same_noise()))
            assert all(part.shape[2] > 0 for part in parts)
            torch.testing.assert_close(torch.cat(parts, dim=2), want, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("limit", [2**27, 2000, 1])
@pytest.mark.parametrize("name", ENCODERS)
def test_streamed_encode_is_the_untiled_forward(name: str, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder_module, "piece_elements", lambda _: limit)
    encoder = with_random_weights(VideoEncoder(ENCODERS[name]))
    frames, height, width = encoder.config.factors
    for cells in (1, 2, 5):
        video = random(2, 3, frames * (cells - 1) + 1, 2 * height, 3 * width)
        want = encoder(video)
        assert want.shape == (2, 8, cells, 2, 3)
        for chunk in (1, 2, cells + 1):
            parts = list(encoder.encode_stream(video, chunk=chunk))
            torch.testing.assert_close(torch.cat(parts, dim=2), want, rtol=1e-4, atol=2e-5)
            torch.testing.assert_close(encoder.encode(video, chunk=chunk), want, rtol=1e-4, atol=2e-5)


def test_limit_bounds_the_pieces() -> None:
    decoder = with_random_weights(VideoDecoder(DECODERS["2.3"]))
    parts = list(decoder.decode_stream(random(1, 4, 12, 2, 2), chunk=12))
    assert len(parts) == 1
    one_frame = 3 * 16 * 16
    limit = 4 * one_frame
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoder_module, "piece_elements", lambda _: limit)
        parts = list(decoder.decode_stream(random(1, 4, 12, 2, 2), chunk=12))
    assert all(part.numel() <= limit + one_frame for part in parts)


def test_inputs_stay_as_they_are() -> None:
    latent, video = random(1, 4, 3, 2, 2), random(1, 3, 5, 8, 8)
    kept_latent, kept_video = latent.clone(), video.clone()
    with_random_weights(VideoDecoder(DECODERS["no blocks"])).decode(latent)
    with_random_weights(VideoEncoder(ENCODERS["published"])).encode(video)
    assert torch.equal(latent, kept_latent)
    assert torch.equal(video, kept_video)


def test_default_noise_is_reproducible() -> None:
    decoder = with_random_weights(VideoDecoder(DECODERS["2 conditioned"]))
    latent = random(1, 4, 2, 2, 2)
    assert torch.equal(decoder.decode(latent), decoder.decode(latent))


def test_result_has_the_dtype_of_the_input() -> None:
    decoder = with_random_weights(VideoDecoder(DECODERS["2.3"])).to(torch.bfloat16)
    encoder = with_random_weights(VideoEncoder(ENCODERS["published"])).to(torch.bfloat16)
    assert decoder.decode(random(1, 4, 2, 2, 2)).dtype is torch.float32
    assert encoder.encode(random(1, 3, 5, 8, 8)).dtype is torch.float32


# --- memory ----------------------------------------------------------------------------------------------------------


def peak_of_decode(decoder: VideoDecoder, frames: int, peak_bytes: Any) -> int:
    latent = torch.empty(1, 4, frames, 16, 16, device="meta")
    with peak_bytes() as bytes_alive:
        for part in decoder.decode_stream(latent, chunk=2):
            del part
    return int(bytes_alive.peak - latent.nbytes)


def test_memory_of_a_decode_does_not_grow_with_the_clip(monkeypatch: pytest.MonkeyPatch, peak_bytes: Any) -> None:
    monkeypatch.setattr(decoder_module, "piece_elements", lambda _: 2**16)
    decoder = build_on_meta(lambda: VideoDecoder(DECODERS["2.3"]))
    assert peak_of_decode(decoder, 96, peak_bytes) < 1.1 * peak_of_decode(decoder, 32, peak_bytes)


def test_memory_of_an_encode_does_not_grow_with_the_clip(peak_bytes: Any) -> None:
    encoder = build_on_meta(lambda: VideoEncoder(ENCODERS["published"]))

    def peak(frames: int) -> int:
        video = torch.empty(1, 3, frames, 64, 64, device="meta")
        with peak_bytes() as bytes_alive:
            for part in encoder.encode_stream(video):
                del part
        return int(bytes_alive.peak - video.nbytes)

    assert peak(201) <= peak(65)


# --- gradients -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("padding", PADDING_MODES)
def test_convolution_and_its_gradient(padding: Any, causal: bool) -> None:
    layer = CausalConv3d(2, 3, padding=padding, causal=causal)
    x = random(1, 2, 3, 4, 5).requires_grad_()
    front, behind = (2, 0) if causal else (1, 1)
    padded = F.pad(x, (0, 0, 0, 0, front, behind), mode="replicate")
    if padding == "zeros":
        padded = F.pad(padded, (1, 1, 1, 1))
    else:
        padded = F.pad(padded, (1, 1, 1, 1, 0, 0), mode=padding)
    want = F.conv3d(padded, layer.conv.weight, layer.conv.bias)
    got = layer(x, Stream(), True)
    torch.testing.assert_close(got, want)
    weights = random(*want.shape)
    (want_gradient,) = torch.autograd.grad((want * weights).sum(), x)
    (got_gradient,) = torch.autograd.grad((got * weights).sum(), x)
    torch.testing.assert_close(got_gradient, want_gradient)


@pytest.mark.parametrize("name", ["2 conditioned", "2.3", "rare blocks"])
def test_forward_is_differentiable(name: str) -> None:
    decoder = with_random_weights(VideoDecoder(DECODERS[name])).requires_grad_(True)
    latent = random(1, 4, 3, 2, 3)
    direction = random(1, 4, 3, 2, 3)
    latent.requires_grad_()
    video = decoder(latent, noise=same_noise())
    (gradient,) = torch.autograd.grad(video.square().mean(), latent, retain_graph=True)
    video.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in decoder.parameters())
    step = 1e-2
    with torch.no_grad():
        up = decoder(latent + step * direction, noise=same_noise()).square().mean()
        down = decoder(latent - step * direction, noise=same_noise()).square().mean()
    torch.testing.assert_close((gradient * direction).sum(), (up - down) / (2 * step), rtol=3e-2, atol=1e-3)


# --- rearrangements --------------------------------------------------------------------------------------------------


def test_patch_order_is_column_before_row() -> None:
    x = torch.zeros(1, 3, 1, 4, 4)
    x[0, 1, 0, 2, 3] = 1  # channel 1, row offset 2, column offset 3
    assert patchify(x, 4)[0, (1 * 4 + 3) * 4 + 2, 0, 0, 0] == 1
    y = random(1, 3, 2, 8, 4)
    assert torch.equal(unpatchify(patchify(y, 4), 4), y)


def test_shuffles_are_inverse() -> None:
    x = random(2, 3, 4, 6, 2)
    assert torch.equal(depth_to_space(space_to_depth(x, (2, 2, 1)), (2, 2, 1)), x)


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_widths_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be divided by the multiplier 3"):
        VideoEncoder(encoder_config((block("compress_all_res", multiplier=3),)))


def test_sizes_are_refused() -> None:
    encoder = with_random_weights(VideoEncoder(ENCODERS["published"]))
    decoder = with_random_weights(VideoDecoder(DECODERS["2"]))
    with pytest.raises(ValueError, match="expected a height that is a multiple of 8 .* found 12x8"):
        encoder.encode(random(1, 3, 1, 12, 8))
    with pytest.raises(
        ValueError, match=r"expected a tensor \(batch, 4, frames, height, width\), found \(1, 5, 1, 2, 2\)"
    ):
        decoder.decode(random(1, 5, 1, 2, 2))
    with pytest.raises(ValueError, match="expected at least 2x2 latent cells, found 1x2"):
        decoder.decode(random(1, 4, 1, 1, 2))
    with pytest.raises(ValueError, match="chunk: expected at least 1"):
        decoder.decode_stream(random(1, 4, 1, 2, 2), chunk=0)


def test_surplus_frames_are_cut_off_with_a_warning() -> None:
    encoder = with_random_weights(VideoEncoder(ENCODERS["published"]))
    video = random(1, 3, 7, 8, 8)
    with pytest.warns(UserWarning, match="the last 2 of 7 frames are left out"):
        got = encoder.encode(video)
    assert torch.equal(got, encoder.encode(video[:, :, :5]))
