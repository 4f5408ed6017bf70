"""Reading of media: windows in time, sample formats, and files that are none."""

from __future__ import annotations

import struct
import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from openltx.media.av_reader import (
    frame_rate,
    read_frames,
    read_frames_at,
    read_frames_between,
    read_sound,
    read_tags,
    video_info,
)
from openltx.media.av_writer import Encoding, write_audio, write_av

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


@pytest.mark.parametrize(("pixel_format", "bits"), [("gbrp10le", 10), ("gbrp12le", 12)])
def test_sources_of_10_and_12_bits_keep_them(tmp_path: Path, pixel_format: str, bits: int) -> None:
    codes = np.arange(100, 612, dtype=np.uint16)  # neighbours that 8 bits cannot tell apart
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=24)
        stream.width, stream.height, stream.pix_fmt = 512, 16, pixel_format
        picture = av.VideoFrame(512, 16, pixel_format)
        for plane in picture.planes:
            np.frombuffer(memoryview(plane), np.uint16).reshape(16, -1)[:, :512] = codes
        container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    found = read_frames(path, deep=True)[0, 0, :, 1].double() / 255 * (2**bits - 1)
    assert np.array_equal(found.round().int().numpy(), codes)
    assert len(set(read_frames(path)[0, 0, :, 1].tolist())) < 512 / 2


class _Pipe:
    """A file that cannot be wound back: the muxer never gets to write the duration."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("wb")

    def write(self, data: bytes) -> int:
        return self.file.write(data)


def test_streams_without_a_duration(tmp_path: Path) -> None:
    encoding = Encoding(video="ffv1", audio="pcm")
    path = write_av(
        tmp_path / "a.mkv", [torch.rand(12, 16, 16, 3)], frame_rate=24, waveform=torch.rand(2, 24000), encoding=encoding
    )
    with av.open(str(path)) as container:
        assert [(stream.duration, stream.frames) for stream in container.streams] == [(None, 0), (None, 0)]
    assert video_info(path).frames == len(read_frames(path)) == 12
    for start, samples in ((0.0, 24000), (0.25, 12000)):
        found = read_sound(path, start=start)
        assert found is not None
        assert found.waveform.shape == (2, samples)


def test_a_recording_that_was_never_wound_back(tmp_path: Path) -> None:
    path, pipe = tmp_path / "a.mkv", _Pipe(tmp_path / "a.mkv")
    with av.open(pipe, "w", format="matroska") as container:
        video = container.add_stream("ffv1", rate=24)
        video.width = video.height = 16
        video.pix_fmt = "bgr0"
        sound = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        for index in range(24):
            grey = np.full((16, 16, 3), index * 8, np.uint8)
            picture = av.VideoFrame.from_ndarray(grey, format="rgb24").reformat(format="bgr0")
            picture.pts, picture.time_base = index, Fraction(1, 24)
            container.mux(video.encode(picture))
        block = av.AudioFrame.from_ndarray(np.full((1, 8000), 1 << 14, np.int16), format="s16", layout="mono")
        block.sample_rate, block.pts = 8000, 0
        container.mux([*sound.encode(block), *sound.encode(None), *video.encode(None)])
    pipe.file.close()
    assert video_info(path).frames == 24
    assert _numbers(read_frames_between(path, 0.5)) == list(range(12, 24))
    whole = read_sound(path)
    assert whole is not None
    assert whole.waveform.tolist() == [[0.5] * 8000]
    rest = read_sound(path, start=0.25)
    assert rest is not None
    assert rest.waveform.shape == (1, 6000)


@pytest.mark.parametrize("colourspace", [1, 5, 9])
@pytest.mark.parametrize("full", [False, True])
def test_matrix_and_range_of_a_stream_are_honoured(tmp_path: Path, colourspace: int, full: bool) -> None:
    """One colour, in the codes of BT.709, 601 or 2020, limited or full range: it comes back."""
    red, blue = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 9: (0.2627, 0.0593)}[colourspace]
    r, g, b = 0.8, 0.4, 0.2
    y = red * r + (1 - red - blue) * g + blue * b
    signal = (y, (b - y) / (2 - 2 * blue), (r - y) / (2 - 2 * red))
    codes = [signal[0] * 255, *(v * 255 + 128 for v in signal[1:])]
    if not full:
        codes = [signal[0] * 219 + 16, *(v * 224 + 128 for v in signal[1:])]
    planes = [np.full(size, round(code), np.uint8) for size, code in zip((1024, 256, 256), codes, strict=True)]
    picture = av.VideoFrame.from_ndarray(np.concatenate(planes).reshape(48, 32), format="yuv420p")
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=24)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = colourspace, 2 if full else 1
        container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    found = read_frames(path)[0].float().mean(dim=(0, 1)) / 255
    assert float((found - torch.tensor([r, g, b])).abs().max()) < 0.012


@pytest.mark.parametrize(
    ("matrix", "turned"),
    [
        ((0, 1, -1, 0), lambda p: p.rot90(-1)),
        ((-1, 0, 0, -1), lambda p: p.rot90(2)),
        ((0, -1, 1, 0), lambda p: p.rot90(1)),
        ((-1, 0, 0, 1), lambda p: p.flip(1)),
        ((1, 0, 0, -1), lambda p: p.flip(0)),
        ((0, 1, 1, 0), lambda p: p.transpose(0, 1)),
    ],
)
def test_frames_are_shown_upright(tmp_path: Path, matrix: tuple[int, ...], turned: object) -> None:
    """A phone's display matrix, put into the track header of an MP4."""
    path = write_av(tmp_path / "a.mp4", [torch.rand(2, 48, 64, 3)], frame_rate=24)
    plain = read_frames(path)[0]
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 4 + 40
    a, b, c, d = (value << 16 for value in matrix)
    struct.pack_into(">9i", data, place, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    assert callable(turned)
    assert torch.equal(read_frames(path)[0], turned(plain))


def _numbered(path: Path, times: list[int]) -> Path:
    """A lossless clip whose frame i is grey i * 8, shown at times[i] milliseconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=1000)
        stream.width = stream.height = 16
        stream.pix_fmt = "bgr0"
        stream.codec_context.time_base = Fraction(1, 1000)
        for index, time in enumerate(times):
            grey = np.full((16, 16, 3), index * 8, np.uint8)
            picture = av.VideoFrame.from_ndarray(grey, format="rgb24").reformat(format="bgr0")
            picture.pts, picture.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def _numbers(frames: torch.Tensor) -> list[int]:
    return [int(value) // 8 for value in frames[:, 0, 0, 0]]


def test_variable_frame_rates_become_constant_on_request(tmp_path: Path) -> None:
    path = _numbered(tmp_path / "a.mkv", [0, 100, 400, 500, 900, 1000])
    assert _numbers(read_frames_at(path, 10)) == [0, 1, 1, 1, 2, 3, 3, 3, 3, 4, 5]
    assert _numbers(read_frames_at(path, 5)) == [0, 1, 2, 3, 3, 5]
    even = _numbered(tmp_path / "b.mkv", [round(index * 1000 / 24) for index in range(24)])
    assert _numbers(read_frames_at(even, 24)) == list(range(24))
    assert _numbers(read_frames_at(even, 48)) == [index // 2 for index in range(48)]
    assert _numbers(read_frames_at(even, 12)) == list(range(0, 24, 2))
    with pytest.raises(ValueError, match="frame rate: expected a number above 0"):
        read_frames_at(even, 0)


@pytest.mark.parametrize("codec", ["h264", "ffv1"])
def test_a_late_start_gives_the_frames_of_that_time(tmp_path: Path, codec: str) -> None:
    """Also where the file is entered between two key frames."""
    greys = (torch.arange(72) * 3 / 255)[:, None, None, None].expand(-1, 32, 32, 3)
    path = write_av(tmp_path / "a.mkv", [greys], frame_rate=24, encoding=Encoding(video=codec))
    whole = read_frames_at(path, 12)
    for first in (1, 13, 30):
        part = read_frames_at(path, 12, start=first / 12, seconds=0.25)
        assert torch.equal(part, whole[first : first + 3])


def test_trimming_by_seconds(tmp_path: Path) -> None:
    path = _numbered(tmp_path / "a.mkv", [index * 100 for index in range(20)])
    assert _numbers(read_frames_between(path, 0.5, 0.3)) == [5, 6, 7]
    assert _numbers(read_frames_between(path, 1.8)) == [18, 19]
    with pytest.raises(ValueError, match="start: expected seconds from 0 on"):
        read_frames_between(path, -1.0)
    with pytest.raises(ValueError, match="expected frames in this range, found none"):
        read_frames_between(path, 9.0)
    assert read_sound(path) is None


def test_unsigned_8_bit_sound_is_centred(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(8000)
        file.writeframes(bytes([128, 0, 255, 128]))
    sound = read_sound(tmp_path / "a.wav")
    assert sound is not None
    assert sound.waveform.tolist() == [[0.0, -1.0, 127 / 128, 0.0]]


def test_what_is_no_media_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "note.mp4").write_text("hello")
    for path in (tmp_path / "note.mp4", tmp_path / "missing.mp4"):
        for read in (read_frames, read_sound, frame_rate, video_info, read_tags):
            with pytest.raises(ValueError, match=f"{path.name}: expected a media file"):
                read(path)
    silent = write_audio(tmp_path / "a.wav", torch.zeros(2, 100), sample_rate=8000)
    with pytest.raises(ValueError, match="found no picture"):
        read_frames(silent)
