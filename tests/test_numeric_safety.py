"""Two known faults of this model family, kept out of every network.

Uninitialised memory that reaches an output: each network runs once with all fresh memory filled with NaN.
float64 on the compute device, which some devices do not have: each network runs on the meta device, which stands for
the accelerator, under a dispatch mode that refuses float64 there. Tables may be made on the CPU in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from openltx.model_loaders.published import (
    DIFFUSION_DECODER,
    DURATION_HEAD,
    GEMMA_3,
    GEMMA_4,
    PROJECTION_2,
    TRANSFORMER_2,
    TRANSFORMER_2_5,
    UPSCALER_TEMPORAL,
    UPSCALER_X1_5,
    VIDEO_DECODER_2,
    VIDEO_ENCODER_2,
    VOCODER_2,
)
from openltx.networks.audio_vae import AudioDecoder, AudioEncoder, decode_mel, log_mel, resample
from openltx.networks.latent_upscaler import LatentUpscaler
from openltx.networks.text.connector import Connector
from openltx.networks.text.duration import DurationHead
from openltx.networks.text.features import SeparateProjection, SharedProjection
from openltx.networks.text.gemma3 import Gemma3
from openltx.networks.text.gemma4 import Gemma4
from openltx.networks.text.gemma_config import GemmaConfig
from openltx.networks.transformer import Stream, StreamConfig, Transformer, TransformerConfig
from openltx.networks.video_vae.decoder import VideoDecoder
from openltx.networks.video_vae.diffusion.decoder import DiffusionDecoder
from openltx.networks.video_vae.encoder import VideoEncoder
from openltx.networks.vocoder import BandwidthExtensionVocoder, Generator, vocode
from openltx.training import embedded_config as tiny
from openltx.training.initial import initial_value

Run = Callable[[nn.Module, torch.device], Any]
META = torch.device("meta")


def _numbers(*shape: int, device: torch.device, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(device)


def _small(config: TransformerConfig) -> TransformerConfig:
    def stream(given: StreamConfig | None, width: int) -> StreamConfig | None:
        return given and replace(given, width=width, in_channels=8, out_channels=8)

    caption = None if config.caption_channels is None else 24
    video, audio = stream(config.video, 48), stream(config.audio, 32)
    return replace(config, num_layers=2, num_heads=2, video=video, audio=audio, caption_channels=caption)


def _small_gemma(config: GemmaConfig) -> GemmaConfig:
    layers = tuple(
        replace(layer, num_heads=2, num_kv_heads=1, head_dim=16, window=layer.window and 4, rotated_pairs=None)
        for layer in (config.layers[0], config.layers[5])
    )
    return replace(config, vocab_size=64, hidden_size=32, intermediate_size=48, layers=layers)


def _transformer(network: nn.Module, device: torch.device) -> Any:
    assert isinstance(network, Transformer)
    config = network.config
    assert config.video is not None
    assert config.audio is not None

    def stream(axes: int, tokens: int, channels: int, width: int) -> Stream:
        real = device != META  # there, values cannot be looked at, and these two are
        spread = torch.rand(1, tokens, 1) if real else torch.rand(1, 1, 1)
        return Stream(
            latent=_numbers(1, tokens, channels, device=device),
            sigma=torch.full((1,), 0.7, device=device),
            timesteps=spread.to(device),
            positions=_numbers(1, axes, tokens, 2, device=device).abs(),
            context=_numbers(1, 5, config.caption_channels or width, device=device),
            attention_mask=torch.full((1, 1, tokens), 0.5, device=device) if real else None,
        )

    video = stream(3, 12, config.video.in_channels, config.video.width)
    return network(video, stream(1, 4, config.audio.in_channels, config.audio.width), feed_forward_chunk=5)


def _gemma(network: nn.Module, device: torch.device) -> Any:
    assert isinstance(network, (Gemma3, Gemma4))
    ids = torch.tensor([[2, 5, 9, 11, 4, 8]]).to(device)
    states = list(network.hidden_states(ids))
    return [*states, network.logits(states[-1])]


def _projection(network: nn.Module, device: torch.device) -> Any:
    states = [_numbers(1, 6, tiny.TEXT.hidden_size, device=device, seed=i) for i in range(tiny.TEXT.num_states)]
    return network(states, torch.ones(1, 6, dtype=torch.int64, device=device))


def _decoded(network: nn.Module, device: torch.device) -> Any:
    assert isinstance(network, VideoDecoder)
    latent = _numbers(1, network.config.latent_channels, 4, 2, 3, device=device)
    return [network.decode(latent), *network.decode_stream(latent, chunk=1)]


def _encoded(network: nn.Module, device: torch.device) -> Any:
    assert isinstance(network, VideoEncoder)
    return network.encode(_numbers(1, 3, 17, 64, 64, device=device))


def _diffusion_decoded(network: nn.Module, device: torch.device) -> Any:
    assert isinstance(network, DiffusionDecoder)
    return list(network.decode_stream(_numbers(1, network.config.latent_channels, 3, 2, 2, device=device)))


_SMALL_DIFFUSION = replace(
    DIFFUSION_DECODER,
    latent_channels=4,
    head_dim=8,
    channels=(64, 32, 16, 16, 8),
    depths=(1, 1, 1, 1, 2),
    kernels=((3, 2, 2), (3, 3, 3), (3, 3, 3), (3, 3, 3), (5, 5, 5)),
    time_channels=16,
)
_SHARED = replace(PROJECTION_2, hidden_size=64, num_states=4, video_features=24)
_SMALL_DURATION = replace(DURATION_HEAD, video_width=24, audio_width=16, hidden_size=32, mlp_size=32)
_SMALL_BLOCKS = tuple(replace(block, num_layers=1) for block in VIDEO_DECODER_2.blocks)

NETWORKS: dict[str, tuple[Callable[[], nn.Module], Run]] = {
    "transformer of 2": (lambda: Transformer(_small(TRANSFORMER_2)), _transformer),
    "transformer of 2.3": (lambda: Transformer(tiny.SHIPPED.transformer), _transformer),
    "transformer of 2.5": (lambda: Transformer(_small(TRANSFORMER_2_5)), _transformer),
    "connector": (
        lambda: Connector(tiny.SHIPPED.video_connector),
        lambda net, device: net(
            _numbers(1, 6, 192, device=device), torch.ones(1, 6, dtype=torch.int64, device=device), length=128
        ),
    ),
    "projection of 2": (lambda: SharedProjection(_SHARED), _projection),
    "projection of 2.3": (lambda: SeparateProjection(tiny.SHIPPED.projection), _projection),
    "Gemma 3": (lambda: Gemma3(_small_gemma(GEMMA_3)), _gemma),
    "Gemma 4": (lambda: Gemma4(_small_gemma(GEMMA_4)), _gemma),
    "duration head": (
        lambda: DurationHead(_SMALL_DURATION),
        lambda net, device: net(_numbers(1, 5, 24, device=device), _numbers(1, 5, 16, device=device)),
    ),
    "video encoder of 2": (
        lambda: VideoEncoder(replace(VIDEO_ENCODER_2, latent_channels=8, blocks=VIDEO_ENCODER_2.blocks[1:8:2])),
        _encoded,
    ),
    "video encoder of 2.3": (lambda: VideoEncoder(tiny.VIDEO_ENCODER), _encoded),
    "video decoder of 2": (
        lambda: VideoDecoder(replace(VIDEO_DECODER_2, latent_channels=8, base_channels=8, blocks=_SMALL_BLOCKS)),
        _decoded,
    ),
    "video decoder of 2.3": (lambda: VideoDecoder(tiny.VIDEO_DECODER), _decoded),
    "diffusion decoder": (lambda: DiffusionDecoder(_SMALL_DIFFUSION), _diffusion_decoded),
    "audio encoder": (lambda: AudioEncoder(tiny.AUDIO_VAE), lambda net, d: net(_numbers(1, 2, 33, 64, device=d))),
    "audio decoder": (
        lambda: AudioDecoder(tiny.AUDIO_VAE),
        lambda net, d: decode_mel(net, _numbers(1, 2, 9, 16, device=d), chunk_frames=4),  # type: ignore[arg-type]
    ),
    "vocoder of 2": (
        lambda: Generator(replace(VOCODER_2, initial_channels=32)),
        lambda net, d: vocode(net, _numbers(1, 2, 12, 64, device=d)),  # type: ignore[arg-type]
    ),
    "vocoder of 2.3": (
        lambda: BandwidthExtensionVocoder(tiny.VOCODER),
        lambda net, d: vocode(net, _numbers(1, 2, 12, 64, device=d)),  # type: ignore[arg-type]
    ),
    "mel front end": (
        nn.Identity,
        lambda net, d: log_mel(resample(_numbers(1, 2, 5000, device=d), 22050, 16000)),
    ),
    "spatial upscaler": (
        lambda: LatentUpscaler(replace(UPSCALER_X1_5, in_channels=8, mid_channels=32)),
        lambda net, d: net(_numbers(1, 8, 3, 4, 4, device=d), limit=200),
    ),
    "temporal upscaler": (
        lambda: LatentUpscaler(replace(UPSCALER_TEMPORAL, in_channels=8, mid_channels=32)),
        lambda net, d: net(_numbers(1, 8, 3, 4, 4, device=d)),
    ),
}


def _filled(name: str) -> tuple[nn.Module, Run]:
    build, run = NETWORKS[name]
    network = build()
    state = {
        key: initial_value(f"{name}.{key}", value, 1).to(value.dtype) for key, value in network.state_dict().items()
    }
    network.load_state_dict(state)
    return network.eval().requires_grad_(False), run


@contextmanager
def _fresh_memory_is_nan() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)  # torch then fills what `empty` returns
    try:
        assert torch.empty(3).isnan().all(), "this torch does not fill fresh memory: the test would prove nothing"
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("name", NETWORKS)
def test_uninitialised_memory_reaches_no_output(name: str) -> None:
    network, run = _filled(name)
    with torch.inference_mode(), _fresh_memory_is_nan():
        outputs = [leaf for leaf in tree_leaves(run(network, torch.device("cpu"))) if isinstance(leaf, Tensor)]
    assert outputs
    for output in outputs:
        assert bool(torch.isfinite(output).all())


class _NoFloat64(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and leaf.device == META and leaf.dtype in (torch.float64, torch.complex128):
                raise AssertionError(f"{function}: makes {leaf.dtype} on the compute device")
        return result


@pytest.mark.parametrize("name", NETWORKS)
def test_no_float64_on_the_compute_device(name: str) -> None:
    build, run = NETWORKS[name]
    with torch.device("meta"):
        network = build()
    with torch.inference_mode(), _NoFloat64():  # type: ignore[no-untyped-call]
        outputs = [leaf for leaf in tree_leaves(run(network.eval(), META)) if isinstance(leaf, Tensor)]
    assert outputs
    assert all(output.device == META for output in outputs)


def test_the_dispatch_mode_notices() -> None:
    with _NoFloat64(), pytest.raises(AssertionError, match="float64 on the compute device"):  # type: ignore[no-untyped-call]
        torch.ones(2, device="meta").double()
