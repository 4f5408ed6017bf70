"""`openltx bench growth`: what twice as long a clip costs: time and peak memory of streams, as ratios.

The diffusion decoder of LTX-2.5 in one piece, at an eighth of its widths and a block a stage, and the convolutional
decoder at a quarter: both decode to nowhere, as a writer of a file does. 4, 8 and 16 latent frames are 25, 57 and 121
pictures: linear time is 2.28, then 2.12; memory that does not depend on the length is 1.
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

LENGTHS = (4, 8, 16)  # latent frames
SIDE = 4  # latent cells
RUNS = 2
Stream = Callable[[Tensor], Iterator[Tensor]]


def decoders() -> dict[str, tuple[int, Stream]]:
    """Channels of the latent, and the stream, by name."""
    config = DIFFUSION_DECODER
    narrow = replace(
        config,
        channels=tuple(width // 8 for width in config.channels),
        depths=(1,) * len(config.depths),
        head_dim=config.head_dim // 8,
        time_channels=config.time_channels // 8,
    )
    diffusion = _filled(DiffusionDecoder(narrow))
    assert isinstance(diffusion, DiffusionDecoder)

    convolutional = _filled(VideoDecoder(replace(VIDEO_DECODER_2_3, base_channels=32)))
    assert isinstance(convolutional, VideoDecoder)
    return {
        "diffusion decoder": (narrow.latent_channels, diffusion.decode_stream),
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
