"""Reading of media: windows in time, sample formats, and files that are none."""

from __future__ import annotations

import wave
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from openltx.media.av_reader import frame_rate, read_frames, read_frames_between, read_sound
from openltx.media.av_writer import write_av

FPS, FRAMES, RATE = 24, 25, 8000


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frame k is grey of level 9 k; the sound is a ramp from 0 to 1."""
    path = tmp_path_factory.mktemp("media") / "clip.mkv"
    levels = torch.arange(FRAMES).float() * 9 / 255
    ramp = torch.linspace(0, 1, RATE).expand(2, -1)
    frames = levels[:, None, None, None].expand(-1, 64, 64, 3)
    return write_av(path, [frames], frame_rate=FPS, waveform=ramp, sample_rate=RATE)


def levels(frames: torch.Tensor) -> list[int]:
    return (frames.float().mean(dim=(1, 2, 3)) / 9).round().int().tolist()


def test_frames_by_index_and_by_time(clip: Path) -> None:
    assert frame_rate(clip) == Fraction(FPS)
    assert levels(read_frames(clip)) == list(range(FRAMES))
    assert levels(read_frames(clip, first=3, count=5)) == [3, 4, 5, 6, 7]
    assert levels(read_frames_between(clip, 0.5, 0.25)) == [12, 13, 14, 15, 16, 17]
    assert levels(read_frames_between(clip, 0.0, 0.1)) == [0, 1, 2]
    with pytest.raises(ValueError, match="expected frames in this range, found none"):
        read_frames(clip, first=FRAMES)


def wav(path: Path, codes: np.ndarray, width: int, channels: int) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(RATE)
        file.writeframes(codes.tobytes())
    return path


@pytest.mark.parametrize(("width", "dtype", "scale"), [(1, "u1", 127), (2, "<i2", 32767), (4, "<i4", 2**31 - 1)])
@pytest.mark.parametrize("channels", [1, 2])
def test_sample_formats_and_windows(width: int, dtype: str, scale: int, channels: int, tmp_path: Path) -> None:
    """Unsigned bytes lie around 128; channels come interleaved."""
    wanted = torch.stack([torch.linspace(-0.9, 0.9, RATE), torch.linspace(0.9, -0.9, RATE)])[:channels]
    codes = (wanted.double().T * scale).round().numpy() + (128 if width == 1 else 0)
    path = wav(tmp_path / "sound.wav", codes.astype(dtype), width, channels)
    sound = read_sound(path)
    assert sound is not None
    assert (sound.sample_rate, tuple(sound.waveform.shape)) == (RATE, (channels, RATE))
    assert torch.allclose(sound.waveform, wanted, atol=2 / scale + 1e-6)
    part = read_sound(path, start=0.25, seconds=0.5)
    assert part is not None
    assert torch.equal(part.waveform, sound.waveform[:, RATE // 4 : 3 * RATE // 4])


def test_what_is_missing_or_no_media(clip: Path, tmp_path: Path) -> None:
    silent = write_av(tmp_path / "silent.mp4", [torch.zeros(3, 64, 64, 3)], frame_rate=FPS)
    assert read_sound(silent) is None
    sound = wav(tmp_path / "sound.wav", np.zeros(100, dtype="<i2"), 2, 1)
    with pytest.raises(ValueError, match="expected a video, found no picture in it"):
        read_frames(sound)
    garbage = tmp_path / "garbage.mp4"
    garbage.write_bytes(b"not a video")
    for path in (garbage, tmp_path / "none.mp4"):
        with pytest.raises(ValueError, match="expected a media file"):
            read_sound(path)
