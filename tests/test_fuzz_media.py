"""Damaged media files: every reader takes them or refuses them in one clean line, soon and in little memory."""

from __future__ import annotations

import gc
import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from openltx.benchmarks.hunt import Case, hunt
from openltx.media.av_reader import read_frames, read_frames_at, read_sound, read_tags, video_info
from openltx.media.av_writer import Encoding, write_audio, write_av
from openltx.media.exr import read_exr, write_exr
from openltx.media.hdr import source_space
from openltx.media.images import read_image
from openltx.media.pictures import read_picture
from openltx.media.texts import read_texts

MUTATIONS = 500
ROOM = 2 << 30  # address space beyond what the imports took: codecs start threads
VIDEO = (read_frames, read_sound, video_info, read_tags, read_texts, partial(read_frames_at, rate=12))
PICTURE = (read_image, read_picture, read_texts)
READERS = {".exr": (read_exr, read_texts), ".png": PICTURE, ".jpg": PICTURE[:2], ".webp": PICTURE}


def _originals(folder: Path) -> list[Path]:
    clip, wave = torch.rand(6, 32, 48, 3), torch.rand(2, 12000) - 0.5
    picture = Image.fromarray((clip[0].numpy() * 255).astype(np.uint8))
    made = []
    videos = {".mp4": "h264", ".mov": "prores", ".mkv": "ffv1", ".webm": "vp9", ".gif": "gif", ".webp": "webp"}
    for suffix, video in videos.items():
        path, sound, tags = folder / f"a{suffix}", None if suffix in (".gif", ".webp") else wave, {"a": "{}"}
        encoding = Encoding(video=video)
        made.append(write_av(path, [clip], frame_rate=24, waveform=sound, encoding=encoding, tags=tags))
    for suffix in (".wav", ".flac"):
        made.append(write_audio(folder / f"a{suffix}", wave, sample_rate=24000))
    for suffix in (".png", ".jpg"):
        picture.save(folder / f"b{suffix}")
        made.append(folder / f"b{suffix}")
    try:
        write_exr(folder / "c.exr", clip[0], source_space("ACESCG"))
        made.append(folder / "c.exr")
    except ValueError:  # without the extra there is no reader to break
        pass
    return made


def _mutated(data: bytes, random_numbers: random.Random) -> bytes:
    changed = bytearray(data)
    # Headers decide about sizes and offsets: half of the damage goes there.
    reach = len(changed) if random_numbers.random() < 0.5 else min(len(changed), 600)
    for _ in range(random_numbers.choice((1, 2, 8, 64))):
        changed[random_numbers.randrange(reach)] ^= 1 << random_numbers.randrange(8)
    if random_numbers.random() < 0.3:
        del changed[random_numbers.randrange(len(changed)) :]
    return bytes(changed)


def run(folder: str, count: int = MUTATIONS) -> dict[str, float]:
    """All mutations, in this process: `count` files, each by all its readers."""
    import warnings

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    numbers, whole = random.Random(7), Path(folder) / "whole"
    whole.mkdir()
    originals = _originals(whole)
    gc.freeze()  # what the imports made need not be searched five hundred times

    def cases() -> Iterator[Case]:
        for index in range(count):
            original = originals[index % len(originals)]
            path = Path(folder) / f"{index:04}{original.suffix}"
            path.write_bytes(_mutated(original.read_bytes(), numbers))
            for reader in READERS.get(path.suffix, VIDEO):
                yield Case(name=f"{path.name} {reader}", take=partial(_read, reader, path))
            path.unlink()

    return hunt(cases(), Path(folder), room=ROOM)


def _read(reader: Callable[[Path], object], path: Path) -> None:
    try:
        reader(path)
    finally:
        gc.collect()  # PyAV's objects refer to each other: what a broken file promised stays mapped until then


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="NOT TESTED: fuzzing needs Linux for its limits")
def test_broken_files_do_no_harm(tmp_path: Path) -> None:
    command = [sys.executable, __file__, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    counts = json.loads(done.stdout.splitlines()[-1])
    assert counts["opened"] > MUTATIONS // 4, "hardly any file could be read: the mutations test nothing"
    assert counts["refused"] > MUTATIONS // 4, "hardly any file was broken: the mutations test nothing"


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1], *map(int, sys.argv[2:]))))
