"""`openltx bench media`: 10 s of 1920x1088 written from a generator, against the way that holds all frames.

Each way runs in a process of its own, so that one's memory is not the other's, and the ways take turns; of several
runs the fastest counts. "all frames" is what a graph's usual saver does: every float frame in memory, 8-bit RGB,
swscale, libx264; once with our preset and quality, once with x264's defaults, which ComfyUI's SaveVideo uses. Peak
memory is beyond the imports and one frame of input. Processor time is that of all threads, the making of the frames
included: it tells something on a machine that does other work, too.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

RATE, HEIGHT, WIDTH, SECONDS = 24, 1088, 1920, 10
WAYS = ("ours", "ours, half as long", "all frames, our preset", "all frames, x264 defaults")
FRAMES_A_CHUNK = 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="length of the clip; default: %(default)s")
    parser.add_argument("--runs", type=int, default=2, help="of each way; default: %(default)s")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        print(json.dumps(_measured(arguments.way, round(arguments.seconds * RATE))))
        return
    rows = _best(arguments.seconds, arguments.runs)
    if arguments.json:
        print(json.dumps(rows))
        return
    print(f"{arguments.seconds:g} s of {WIDTH}x{HEIGHT} at {RATE} fps, sound included")
    print(f"{'':<28}{'frames/s':>10}{'ms of processor':>18}{'peak, MiB':>12}")
    for way, row in rows.items():
        print(f"{way:<28}{row['frames_per_second']:>10.1f}{row['processor_ms']:>18.1f}{row['peak_mib']:>12.0f}")
    for way in WAYS[2:]:
        print(f"{rows['ours']['frames_per_second'] / rows[way]['frames_per_second']:.2f} x the speed of {way}")


def _best(seconds: float, runs: int) -> dict[str, dict[str, float]]:
    """The fastest run of each way; of its memory the most."""
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(runs):
        for way in WAYS:
            found[way].append(_in_a_process(way, seconds / (2 if "half" in way else 1)))
    return {
        way: max(rows, key=lambda row: row["frames_per_second"]) | {"peak_mib": max(row["peak_mib"] for row in rows)}
        for way, rows in found.items()
    }


def _in_a_process(way: str, seconds: float) -> dict[str, float]:
    command = [sys.executable, __file__, "--way", way, "--seconds", str(seconds)]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    row: dict[str, float] = json.loads(result.stdout)
    return row


def _measured(way: str, count: int) -> dict[str, float]:
    import torch

    from openltx.media.av_writer import write_av

    sound = torch.zeros(2, count * 48000 // RATE)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        next(_frames(1))
        before, start, used = _peak_bytes(), time.perf_counter(), time.process_time()
        if way.startswith("ours"):
            write_av(path, _frames(count), frame_rate=RATE, waveform=sound)
        else:
            _hold_all(path, count, {"crf": "19", "preset": "veryfast"} if "our preset" in way else {})
        seconds, used = time.perf_counter() - start, time.process_time() - used
    return {
        "frames_per_second": count / seconds,
        "processor_ms": used / count * 1e3,
        "peak_mib": (_peak_bytes() - before) / 2**20,
    }


def _frames(count: int) -> Iterator[Tensor]:
    """Chunks (f, H, W, 3) in [0, 1]: a moving picture with grain, cheap to make."""
    import torch

    generator = torch.Generator().manual_seed(0)
    wide = torch.rand(HEIGHT, WIDTH + 256, 3, generator=generator) * 0.1
    wide += torch.linspace(0, 0.9, WIDTH + 256)[:, None]
    for first in range(0, count, FRAMES_A_CHUNK):
        shifts = range(first, min(first + FRAMES_A_CHUNK, count))
        yield torch.stack([wide[:, 2 * shift % 256 :][:, :WIDTH] for shift in shifts])


def _hold_all(path: Path, count: int, options: dict[str, str]) -> None:
    import av
    import torch

    images = torch.empty(count, HEIGHT, WIDTH, 3)
    for index, chunk in enumerate(_frames(count)):
        images[index : index + 1] = chunk
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        sound = container.add_stream("aac", rate=48000, layout="stereo")
        for image in images:
            codes = (image * 255).clamp(0, 255).to(torch.uint8).numpy()
            container.mux(stream.encode(av.VideoFrame.from_ndarray(codes, format="rgb24").reformat(format="yuv420p")))
        container.mux(stream.encode(None))
        samples = torch.zeros(2, count * 48000 // RATE).numpy()
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts = 48000, 0
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))


def _peak_bytes() -> float:
    """The most memory that this process has had resident."""
    if sys.platform == "win32":
        import psutil

        return float(psutil.Process().memory_info().peak_wset)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main()
