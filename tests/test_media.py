"""Files written by the AV writer, read back with PyAV."""

from __future__ import annotations

import os
import sys
from fractions import Fraction
from pathlib import Path

import av
import pytest
import torch

from openltx.media.av_writer import check_target, write_av
from openltx.media.colour import rgb_to_i420
from openltx.media.health import audio_faults, frame_faults
from openltx.media.retime import exact_rate
from openltx.media.sound import fit_length


def _clip(frames: int = 17) -> torch.Tensor:
    return torch.rand(frames, 64, 96, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("rate", "exact"), [(24.0, Fraction(24)), (23.976, Fraction(24000, 1001)), (12.5, Fraction(25, 2))]
)
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("samples", [100, 200_000])
def test_one_video_and_one_audio_stream_of_equal_length(
    tmp_path: Path, rate: float, exact: Fraction, suffix: str, samples: int
) -> None:
    waveform = torch.rand(2, samples) - 0.5
    path = write_av(tmp_path / f"clip{suffix}", torch.split(_clip(), 5), frame_rate=rate, waveform=waveform)
    with av.open(str(path)) as container:
        assert (len(container.streams.video), len(container.streams.audio)) == (1, 1)
        video, audio = container.streams.video[0], container.streams.audio[0]
        frames = sum(1 for _ in container.decode(video))
        container.seek(0)
        decoded = sum(frame.samples for frame in container.decode(audio))
        assert frames == 17
        assert abs(float(video.average_rate or 0) - float(exact)) < 0.01
        assert (audio.rate, video.codec_context.colorspace, video.codec_context.color_range) == (48000, 1, 1)
    # AAC decodes to whole blocks of 1024 samples, half a frame at 24 fps.
    assert abs(decoded / 48000 - frames / float(exact)) <= 1 / float(exact)


def test_pictures_survive_the_way_through_the_file(tmp_path: Path) -> None:
    flat = torch.tensor([0.8, 0.2, 0.1]).expand(9, 64, 64, 3)
    path = write_av(tmp_path / "flat.mp4", [flat], frame_rate=24)
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert abs(frame.astype(float).mean(axis=(0, 1)) - [204, 51, 25.5]).max() < 4


def test_a_failure_leaves_no_file_and_keeps_the_earlier_one(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"an earlier result")

    def broken() -> object:
        yield _clip(3)
        raise RuntimeError("decoder failed")

    with pytest.raises(RuntimeError, match="decoder failed"):
        write_av(path, broken(), frame_rate=24)  # type: ignore[arg-type]
    assert path.read_bytes() == b"an earlier result"
    assert [entry.name for entry in tmp_path.iterdir()] == ["clip.mp4"]


def test_bad_targets_are_one_line(tmp_path: Path) -> None:
    for path in (tmp_path / "no" / "clip.mp4", tmp_path / "clip.txt", tmp_path):
        with pytest.raises(ValueError, match="choose") as error:
            check_target(path)
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="at least one frame"):
        write_av(tmp_path / "none.mp4", [], frame_rate=24)
    with pytest.raises(ValueError, match="even"):
        rgb_to_i420(torch.zeros(1, 3, 4, 3))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="needs a folder that this user cannot write")
def test_a_folder_without_write_permission_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ValueError, match="cannot be written"):
        check_target(tmp_path / "clip.mp4")


def test_lengths_and_rates() -> None:
    assert fit_length(torch.ones(2, 10), 4).shape == (2, 4)
    assert fit_length(torch.ones(2, 3), 5)[:, 3:].tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert [exact_rate(r) for r in (24, 25.0, 29.97, 30, 59.94, 60)] == [
        24, 25, Fraction(30000, 1001), 30, Fraction(60000, 1001), 60,
    ]  # fmt: skip


def test_faults_are_named_with_their_figure() -> None:
    assert audio_faults(torch.sin(torch.arange(960.0)).expand(2, -1) * 0.5) == []
    assert "DC" in audio_faults(torch.sin(torch.arange(960.0)).expand(2, -1) * 0.5 + 0.2)[0]
    assert "silent" in audio_faults(torch.zeros(2, 100))[0]
    assert "1 samples are NaN" in audio_faults(torch.tensor([[0.1, float("nan")]]))[0]
    assert "clipped" in audio_faults(torch.ones(2, 100))[0]
    assert frame_faults(torch.rand(2, 4, 4, 3)) == []
    assert "black" in frame_faults(torch.zeros(2, 4, 4, 3))[0]
    assert "NaN" in frame_faults(torch.full((1, 2, 2, 3), float("nan")))[0]
