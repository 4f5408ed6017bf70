"""`openltx bench growth`: what twice as long a clip costs: time and peak memory of streams, as ratios.

The diffusion decoder of LTX-2.5 at an eighth of its widths, and the convolutional decoder at a quarter: both are
decoded to nowhere, as a writer of a file does. Linear time is 2, memory that does not depend on the length is 1.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from openltx.benchmarks.measure import peak_bytes
from openltx.model_loaders.published import DIFFUSION_DECODER, VIDEO_DECODER_2_3
from openltx.networks.video_vae.decoder import VideoDecoder
from openltx.networks.video_vae.diffusion.decoder import DiffusionDecoder
from openltx.networks.video_vae.diffusion.tiling import automatic_diffusion_tiling

LENGTHS = (4, 8, 16)  # latent frames
SIDE = 4  # latent cells
FREE = 40 * 2**20  # bytes that the tiles may take: less than the whole clip
RUNS = 2
Stream = Callable[[Tensor], Iterator[Tensor]]


def decoders() -> dict[str, tuple[int, Stream]]:
    """Channels of the latent, and the stream, by name."""
    config = DIFFUSION_DECODER
    narrow = replace(
        config,
        channels=tuple(width // 8 for width in config.channels),
        head_dim=config.head_dim // 8,
        time_channels=config.time_channels // 8,
    )
    diffusion = _filled(DiffusionDecoder(narrow))
    assert isinstance(diffusion, DiffusionDecoder)

    def in_tiles(latent: Tensor) -> Iterator[Tensor]:
        size = (narrow.frames_of(latent.shape[2]), 32 * latent.shape[3], 32 * latent.shape[4])
        tiling = automatic_diffusion_tiling(narrow, size, free_bytes=FREE, weight_bytes=0, reserve=0)
        return diffusion.decode_stream(latent, tiling=tiling)

    convolutional = _filled(VideoDecoder(replace(VIDEO_DECODER_2_3, base_channels=32)))
    assert isinstance(convolutional, VideoDecoder)
    return {
        "diffusion decoder, one piece": (narrow.latent_channels, diffusion.decode_stream),
        "diffusion decoder, tiles": (narrow.latent_channels, in_tiles),
        "video decoder": (VIDEO_DECODER_2_3.latent_channels, convolutional.decode_stream),
    }


def _filled(network: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=0.05, generator=generator)
    return network.eval()


def measured(stream: Stream, latent: Tensor) -> tuple[float, int]:
    """Median seconds, and peak bytes."""

    def run() -> list[Tensor]:
        for _ in stream(latent):
            pass
        return []

    run()
    seconds = []
    for _ in range(RUNS):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), peak_bytes(run, "cpu")[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    for name, (channels, stream) in decoders().items():
        rows = []
        for frames in LENGTHS:
            seconds, peak = measured(stream, torch.randn(1, channels, frames, SIDE, SIDE))
            rows.append({"latent frames": frames, "seconds": seconds, "peak MiB": peak / 2**20})
        print(json.dumps({name: rows}) if options.json else "\n".join([name, *lines(rows)]), flush=True)


def lines(rows: list[dict[str, float]]) -> Iterator[str]:
    """One a length, with its ratios to the length before."""
    before: dict[str, float] | None = None
    for row in rows:
        text = f"  {row['latent frames']:>3.0f} latent frames {row['seconds']:8.2f} s {row['peak MiB']:8.1f} MiB"
        if before is not None:
            time_ratio, memory_ratio = (row[key] / before[key] for key in ("seconds", "peak MiB"))
            text += f"   time x{time_ratio:.2f}, memory x{memory_ratio:.2f}"
        yield text
        before = row


if __name__ == "__main__":
    main()
