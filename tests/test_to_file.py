"""Decoding straight into a file: the same frames as through a graph of decode and save, held piece by piece."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from openltx.media.av_reader import read_frames, read_sound
from openltx.media.health import SoundHealth, audio_faults
from openltx.media.stored_sound import stored_sound
from openltx.media.targets import whole_file
from openltx.networks.video_vae.decoder import VideoDecoder
from openltx.nodes import frames as frames_module
from openltx.nodes.decode import DecodeAudio, DecodeVideo
from openltx.nodes.frames import Cut, decoded_frames
from openltx.nodes.host.standalone.settings import Settings, use
from openltx.nodes.latents import EmptyAVLatent, video_of
from openltx.nodes.load import INSIDE, LoadModel
from openltx.nodes.made import digest
from openltx.nodes.save import SaveAV
from openltx.nodes.to_file import DecodeToFile


@pytest.fixture(scope="module")
def parts() -> Any:
    return LoadModel.execute("openltx-tiny-2.3.safetensors", INSIDE, "float32").args


@pytest.fixture(scope="module")
def latent(parts: Any) -> Any:
    made = EmptyAVLatent.execute(parts[0], 64, 32, 25, 24.0).args[0]
    generator = torch.Generator().manual_seed(0)
    for member in made["samples"].tensors:
        member.copy_(torch.randn(member.shape, generator=generator))
    return made


def saved(folder: Path) -> Path:
    (path,) = folder.glob("*.mkv")
    return path


def test_the_file_is_the_one_of_decode_and_save(parts: Any, latent: Any, tmp_path: Path) -> None:
    (tmp_path / "two").mkdir()
    (tmp_path / "one").mkdir()
    with torch.inference_mode(), use(Settings(output_folder=tmp_path / "two")):
        images = DecodeVideo.execute(parts[2], latent).args[0]
        sound = DecodeAudio.execute(parts[3], latent).args[0]
        SaveAV.execute(images, 24.0, "x", "mkv", sound, "ffv1")
    with torch.inference_mode(), use(Settings(output_folder=tmp_path / "one")):
        DecodeToFile.execute(parts[2], latent, 24.0, "x", "mkv", parts[3], "ffv1")
    two, one = saved(tmp_path / "two"), saved(tmp_path / "one")
    assert torch.equal(torch.as_tensor(read_frames(one)), torch.as_tensor(read_frames(two)))
    found, expected = read_sound(one), read_sound(two)
    assert found is not None
    assert expected is not None
    assert found.waveform.shape == expected.waveform.shape
    assert torch.allclose(found.waveform, expected.waveform, atol=0.01)  # in pieces of a second, then coded


def test_a_long_clip_needs_no_more_than_a_short_one(parts: Any, peak_bytes: Any) -> None:
    """Once all layers have something to remember, which takes some 24 latent frames."""
    decoder = parts[2].decoder
    peaks = []
    for count in (24, 72):
        latent = torch.randn(1, decoder.on(torch.device("cpu")).config.latent_channels, count, 1, 2)
        with torch.inference_mode(), peak_bytes(latent) as peak:
            for chunk in decoded_frames(decoder, latent):
                del chunk
        peaks.append(peak.peak)
    assert peaks[1] <= 1.05 * peaks[0]


def test_decoding_goes_on_where_memory_ended(parts: Any, latent: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    told, video, original = list[str](), video_of(latent)[:1], VideoDecoder.decode_stream
    expected = torch.cat(list(decoded_frames(parts[2].decoder, video)))
    monkeypatch.setattr(frames_module, "warn_user", told.append)
    monkeypatch.setattr(frames_module, "CUTS", (Cut(2**14), Cut(2**13)))

    def broken(self: VideoDecoder, latent: Tensor, *, limit: int | None = None, **options: Any) -> Iterator[Tensor]:
        for index, chunk in enumerate(original(self, latent, limit=limit, **options)):
            if limit == 2**14 and index == 2:
                raise torch.OutOfMemoryError("CUDA out of memory")
            yield chunk

    monkeypatch.setattr(VideoDecoder, "decode_stream", broken)
    found = torch.cat(list(decoded_frames(parts[2].decoder, video)))
    assert found.shape == expected.shape
    assert torch.allclose(found, expected, atol=1e-5)
    assert len(told) == 1
    assert told[0].startswith("out of memory: decoding goes on from frame ")


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected room on the disk, found none") as error:
        with whole_file(tmp_path / "a.mp4"):
            raise OSError(errno.ENOSPC, "No space left on device")
    assert "\n" not in str(error.value)
    assert not list(tmp_path.glob("*.mp4"))


def test_a_sound_on_the_disk_is_the_one_in_memory(tmp_path: Path) -> None:
    pieces = [torch.randn(2, count) for count in (1000, 70000, 3)]
    whole = torch.cat(pieces, dim=1)
    with stored_sound(tmp_path / "a.mp4", iter(pieces)) as sound:
        assert torch.equal(sound(0, 1 << 20), whole)
        assert torch.equal(sound(990, 20), whole[:, 990:1010])
        assert sound(whole.shape[1], 5).shape == (2, 0)
        assert sound.digest() == digest(whole, 1)
        assert not list(tmp_path.iterdir())  # it has no name: a kill leaves nothing
    assert not list(tmp_path.iterdir())


def test_sound_that_passes_by_is_judged_as_a_whole() -> None:
    for whole in (torch.zeros(2, 9000), torch.full((2, 9000), 0.1), torch.ones(2, 9000), torch.randn(2, 9000)):
        health = SoundHealth()
        for piece in health.watch(torch.split(whole, 1000, dim=1)):
            assert piece.shape == (2, 1000)
        assert health.faults() == audio_faults(whole)
        assert health.faults()


FREED = """
import os
import torch
from pathlib import Path
from openltx.model_loaders.free_memory import without_holes

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

with without_holes():
    every = [torch.ones(2**19) for _ in range(64)]  # 2 MiB each
    before = resident()
    del every[::2]
    print(before - resident())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a way of glibc")
def test_memory_without_holes_lets_go_of_what_is_freed() -> None:
    """Freed tensors between living ones keep their pages in glibc's heap, but not inside the block.

    In a process of its own: what others have freed before would serve these tensors too.
    """
    ended = subprocess.run([sys.executable, "-c", FREED], capture_output=True, text=True, check=True)
    assert int(ended.stdout) > 50 * 2**20
