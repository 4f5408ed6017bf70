"""`openltx bench decode`: decoding to disk: resident memory of a clip and of one some times as long.

Latents of noise go through the node Decode to AV File, sound included, each length in fresh processes. Counted is the
most that the process had resident: Python, torch, weights, latents, encoders, everything; of several runs the median.
Decoders: those of the embedded model, or with --narrow a video decoder of the published 2.3 structure at 1/32 of its
widths and no sound, for frames as large as real ones. From some 20 latent frames on a stream holds all it ever will.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

RATE = 24.0
FACTOR, RUNS = 10, 1
NARROW = 32  # of the published widths


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--frames", type=int, default=49, help="of the shorter clip, 8n + 1; default: %(default)s")
    parser.add_argument("--times", type=float, default=FACTOR, help="as long is the other; default: %(default)s")
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--height", type=int, default=128)
    parser.add_argument("--narrow", action="store_true", help="a narrow video decoder in place of the embedded model")
    parser.add_argument("--runs", type=int, default=RUNS, help="of each length; default: %(default)s")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(measured(options)))
        return
    rows = compared(options)
    if options.json:
        print(json.dumps(rows))
        return
    for row in rows:
        print(f"{row['frames']:>6} frames {row['peak MiB']:9.1f} MiB resident {row['seconds']:8.1f} s")
    print(f"{rows[1]['frames'] / rows[0]['frames']:.1f}x the frames: {rows[1]['peak MiB'] / rows[0]['peak MiB']:.3f}x")


def compared(options: argparse.Namespace) -> list[dict[str, float]]:
    """The shorter clip, the longer one."""
    return [_median(options, frames) for frames in (options.frames, 8 * round(options.frames * options.times / 8) + 1)]


def _median(options: argparse.Namespace, frames: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--worker", "--frames", str(frames), *(["--narrow"] * options.narrow)]
    command += ["--width", str(options.width), "--height", str(options.height)]
    found = []
    for _ in range(options.runs):
        result = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found.append(json.loads(result.stdout.splitlines()[-1]))
    return {key: statistics.median(row[key] for row in found) for key in found[0]}


def measured(options: argparse.Namespace) -> dict[str, float]:
    """In this process, which has done nothing else."""
    import torch

    from openltx.nodes.host.standalone.settings import Settings, use

    decode = _narrow if options.narrow else _embedded
    start = time.perf_counter()
    with torch.inference_mode(), tempfile.TemporaryDirectory() as folder, use(Settings(output_folder=Path(folder))):
        decode(Path(folder), options.frames, options.width, options.height)
    return {"frames": options.frames, "peak MiB": resident_peak() / 2**20, "seconds": time.perf_counter() - start}


def _embedded(folder: Path, frames: int, width: int, height: int) -> None:
    import torch

    from openltx.nodes.latents import EmptyAVLatent
    from openltx.nodes.load import INSIDE, LoadModel
    from openltx.nodes.to_file import DecodeToFile

    parts = LoadModel.execute("openltx-tiny-2.3.safetensors", INSIDE, "float32").args
    latent = EmptyAVLatent.execute(parts[0], width, height, frames, RATE).args[0]
    for member in latent["samples"].tensors:
        member.copy_(torch.randn(member.shape, generator=torch.Generator().manual_seed(0)))
    DecodeToFile.execute(parts[2], latent, RATE, "clip", "mp4", parts[3])


def _narrow(folder: Path, frames: int, width: int, height: int) -> None:
    import torch

    from openltx.media.av_writer import write_av
    from openltx.model_loaders.parts import Lazy
    from openltx.model_loaders.published import VIDEO_DECODER_2_3
    from openltx.networks.video_vae.decoder import VideoDecoder
    from openltx.nodes.frames import decoded_frames

    config = replace(VIDEO_DECODER_2_3, base_channels=VIDEO_DECODER_2_3.base_channels // NARROW)
    decoder = VideoDecoder(config).eval().requires_grad_(False)
    for tensor in (*decoder.parameters(), *decoder.buffers()):
        tensor.normal_(std=0.05)
    latent = torch.randn(1, config.latent_channels, (frames + 7) // 8, height // 32, width // 32)
    chunks: Iterator[torch.Tensor] = decoded_frames(Lazy(lambda: decoder, torch.float32), latent)
    write_av(folder / "clip.mp4", chunks, frame_rate=RATE)


def resident_peak() -> float:
    """Bytes. Linux tells of this process alone; elsewhere what `bench demo` tells."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        return 1024 * float(lines["VmHWM"].split()[0])
    from openltx.benchmarks.demo import peak_bytes

    return peak_bytes()


if __name__ == "__main__":
    main()
