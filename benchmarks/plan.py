"""`openltx bench plan`: what the memory plan predicts for each phase, against what a run of it takes, on the CPU.

Random settings (networks at random widths, sizes, dtypes) from a seed; the plan's constants (plan/kernels.py) were
frozen before. Peaks are those of torch's allocator, from the profiler's trace; weights and inputs do not count,
results do.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn

from openltx.benchmarks.measure import peak_bytes
from openltx.model_loaders import published
from openltx.networks.audio_vae import AudioDecoder, decode_audio
from openltx.networks.latent_upscaler import LatentUpscaler
from openltx.networks.text.connector import Connector, ConnectorConfig
from openltx.networks.text.features import ProjectionConfig, SeparateProjection, SharedProjection
from openltx.networks.text.gemma3 import Gemma3
from openltx.networks.text.gemma4 import Gemma4
from openltx.networks.transformer import Stream, Transformer
from openltx.networks.video_vae.decoder import VideoDecoder
from openltx.networks.vocoder import BandwidthExtensionVocoder, Generator, GeneratorConfig
from openltx.plan.needs import (
    TextConfig,
    Tokens,
    decode_need,
    denoise_need,
    sound_need,
    text_need,
    upscale_need,
)
from openltx.plan.rehearsal import Need

CPU = torch.device("cpu")
BAR = 0.10
LONG_SHARE = 0.5  # of the settings of a decoder: clips of up to 505 frames
Run = Callable[[], list[Tensor]]
Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One setting of one phase."""

    phase: str
    setting: str
    predicted: int
    measured: int

    @property
    def error(self) -> float:
        """Of the prediction, relative to the measured peak."""
        return self.predicted / self.measured - 1


def rows(seed: int, count: int, phases: tuple[str, ...] | None = None) -> Iterator[Row]:
    """`count` random settings, phase after phase in turn."""
    rng = random.Random(seed)
    names = phases or tuple(PHASES)
    for index in range(count):
        phase = names[index % len(names)]
        setting, need, run = PHASES[phase](rng)
        with torch.inference_mode():
            run()
            measured, _ = peak_bytes(run, "cpu")
        yield Row(phase=phase, setting=setting, predicted=need.bytes, measured=measured)


def _denoise(rng: random.Random) -> tuple[str, Need, Run]:
    base = rng.choice([published.TRANSFORMER_2, published.TRANSFORMER_2_3, published.TRANSFORMER_2_5])
    heads, width, dtype = rng.choice([2, 4, 8]), rng.choice([16, 32, 64]), _dtype(rng)
    assert base.video is not None
    assert base.audio is not None
    config = replace(
        base,
        num_layers=rng.randint(1, 4),
        num_heads=heads,
        video=replace(base.video, width=heads * width),
        audio=replace(base.audio, width=heads * width // 2),
        caption_channels=None if base.caption_channels is None else rng.choice([64, 128]),
    )
    tokens = Tokens(
        video=rng.randint(1, 8) * rng.randint(4, 16) * rng.randint(4, 16),
        audio=rng.randint(10, 130),
        text=rng.choice([128, 256, 1024]),
        distinct=rng.random() < 0.3,
    )
    passes, chunk = rng.choice([1, 1, 2, 3]), rng.choice([None, None, 0, 256])
    network = _filled(lambda: Transformer(config), dtype)

    def stream(name: str, count: int) -> Stream:
        own = config.video if name == "video" else config.audio
        assert own is not None
        timesteps = torch.full((passes, count if tokens.distinct else 1, 1), 0.7)
        if tokens.distinct:
            timesteps[:, :4] = 0
        return Stream(
            latent=torch.randn(passes, count, own.in_channels).to(dtype),
            sigma=torch.full((passes,), 0.7),
            timesteps=timesteps,
            positions=torch.rand(1, len(own.max_pos), count, 2),
            context=torch.randn(passes, tokens.text, config.caption_channels or own.width).to(dtype),
        )

    video, audio = stream("video", tokens.video), stream("audio", tokens.audio)

    def run() -> list[Tensor]:
        return [found for found in network(video, audio, feed_forward_chunk=chunk) if found is not None]

    sizes = f"width {heads * width}, {tokens.video}+{tokens.audio} tokens, {tokens.text} text"
    what = f"{sizes}, {passes} passes, chunk {chunk}"
    return (
        f"{what}{', given' * tokens.distinct}, {_name(dtype)}",
        denoise_need(config, dtype, CPU, tokens, passes, chunk),
        run,
    )


def _text(rng: random.Random) -> tuple[str, Need, Run]:
    dtype, hidden, later = _dtype(rng), rng.choice([64, 128, 256]), rng.random() < 0.6
    base = rng.choice([published.GEMMA_3, published.GEMMA_4])
    local = [
        replace(layer, num_heads=4, num_kv_heads=min(2, layer.num_kv_heads), head_dim=hidden // 4)
        for layer in base.layers
    ]
    rotated = [replace(layer, rotated_pairs=None if layer.rotated_pairs is None else hidden // 32) for layer in local]
    count = rng.randint(6, 16)
    decoder = replace(
        base, vocab_size=300, hidden_size=hidden, intermediate_size=4 * hidden, layers=tuple(rotated[:count])
    )
    width = rng.choice([64, 128, 256])
    connector = ConnectorConfig(num_layers=2, num_heads=4, head_dim=width // 4, num_registers=128, gated=later)
    config = TextConfig(
        decoder=decoder,
        projection=ProjectionConfig(
            hidden_size=hidden, num_states=count + 1, video_features=width, audio_features=width if later else None
        ),
        video_connector=connector,
        audio_connector=connector,
        length=rng.choice([128, 256, 1024]),
    )
    prompt = rng.randint(4, config.length)
    model = _filled(lambda: Gemma3(decoder) if base is published.GEMMA_3 else Gemma4(decoder), dtype)
    projection = _filled(
        lambda: SeparateProjection(config.projection) if later else SharedProjection(config.projection), dtype
    )
    video, audio = (_filled(partial(Connector, connector), dtype) for _ in range(2))
    ids = torch.randint(300, (1, prompt))

    def run() -> list[Tensor]:
        mask = torch.ones_like(ids)
        features = projection(model.hidden_states(ids), mask)
        return [own(found, mask, length=config.length) for own, found in zip((video, audio), features, strict=True)]

    what = f"hidden {hidden}, {count} layers, {prompt} of {config.length} tokens, context {width}, {_name(dtype)}"
    return what, text_need(config, dtype, CPU, prompt), run


def _upscale(rng: random.Random) -> tuple[str, Need, Run]:
    base = rng.choice([published.UPSCALER_X2_2_3, published.UPSCALER_X1_5, published.UPSCALER_TEMPORAL])
    config, dtype, grid = replace(base, mid_channels=rng.choice([32, 64, 96])), _dtype(rng), _grid(rng, 8, 14)
    network, latent = _filled(lambda: LatentUpscaler(config), dtype), torch.randn(1, 128, *grid).to(dtype)
    what = f"{config.resampler}, {config.mid_channels} channels, latent {_size(grid)}, {_name(dtype)}"
    return what, upscale_need(config, dtype, CPU, grid), lambda: [network(latent)]


def _decode(rng: random.Random) -> tuple[str, Need, Run]:
    base = rng.choice([published.VIDEO_DECODER_2, published.VIDEO_DECODER_2_3])
    config, dtype = replace(base, base_channels=rng.choice([8, 16, 32])), _dtype(rng)
    grid = (
        _grid(rng, 7, 8) if rng.random() >= LONG_SHARE else (rng.randint(8, 64), rng.randint(2, 4), rng.randint(2, 4))
    )
    network, latent = _filled(lambda: VideoDecoder(config), dtype), torch.randn(1, 128, *grid).to(dtype)

    def run() -> list[Tensor]:
        for _ in network.decode_stream(latent):
            pass
        return []

    what = f"{config.base_channels} channels, latent {_size(grid)}, {_name(dtype)}"
    return what, decode_need(config, dtype, CPU, grid), run


def _sound(rng: random.Random) -> tuple[str, Need, Run]:
    share, frames = rng.choice([4, 8]), rng.randint(5, 60)
    audio = replace(published.AUDIO_VAE, channels=128 // share)
    later = rng.random() < 0.5
    vocoder = published.VOCODER_2_3 if later else published.VOCODER_2
    if isinstance(vocoder, GeneratorConfig):
        vocoder = _narrow(vocoder, 2 * share)
    else:
        vocoder = replace(
            vocoder, generator=_narrow(vocoder.generator, share), bwe_generator=_narrow(vocoder.bwe_generator, share)
        )
    made = vocoder
    decoder = _filled(lambda: AudioDecoder(audio), torch.float32)
    generator = _filled(
        lambda: Generator(made) if isinstance(made, GeneratorConfig) else BandwidthExtensionVocoder(made), torch.float32
    )
    latent = torch.randn(1, audio.latent_channels, frames, audio.latent_bins)
    what = f"{'2.3' if later else '2'}, 1/{share} of the widths, {frames} latent frames"
    return what, sound_need(audio, made, CPU, frames), lambda: [decode_audio(decoder, generator, latent)[0]]


def _narrow(config: GeneratorConfig, share: int) -> GeneratorConfig:
    return replace(config, initial_channels=config.initial_channels // share)


PHASES: dict[str, Callable[[random.Random], tuple[str, Need, Run]]] = {
    "text": _text,
    "denoise": _denoise,
    "upscale": _upscale,
    "decode": _decode,
    "sound": _sound,
}


def _filled(build: Callable[[], Network], dtype: torch.dtype) -> Network:
    with torch.device("meta"):
        network = build()
    network = network.to(dtype).to_empty(device="cpu").eval().requires_grad_(False)
    with torch.no_grad():
        for tensor in (*network.parameters(), *network.buffers()):
            tensor.normal_(std=0.02)
    return network


def _dtype(rng: random.Random) -> torch.dtype:
    return rng.choice([torch.float32, torch.bfloat16])


def _grid(rng: random.Random, frames: int, side: int) -> tuple[int, int, int]:
    return rng.randint(1, frames), rng.randint(2, side), rng.randint(2, side)


def _size(grid: tuple[int, int, int]) -> str:
    return "x".join(map(str, grid))


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--settings", type=int, default=40)
    parser.add_argument("--only", choices=tuple(PHASES))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = []
    for row in rows(options.seed, options.settings, (options.only,) if options.only else None):
        found.append(row)
        if options.json:
            print(json.dumps({**asdict(row), "error": row.error}), flush=True)
        else:
            sizes = f"{row.predicted / 2**20:9.2f} MiB predicted, {row.measured / 2**20:9.2f} measured"
            print(f"{row.phase:<8} {sizes}  {row.error:+6.1%}  {row.setting}", flush=True)
    missed = [row for row in found if abs(row.error) > BAR]
    worst = max(found, key=lambda row: abs(row.error))
    if not options.json:
        print(f"{len(found)} settings, {len(missed)} beyond {BAR:.0%}; worst {worst.error:+.1%} ({worst.phase})")
    raise SystemExit(1 if missed else 0)


if __name__ == "__main__":
    main()
