"""Every kind of file written and read back: what is exact is exact, the rest within its bound."""

from __future__ import annotations

import json
import weakref
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from openltx.media.av_reader import (
    frame_rate,
    iterate_frames,
    read_frames,
    read_sound,
    read_tags,
    video_info,
)
from openltx.media.av_writer import Encoding, write_audio, write_av
from openltx.media.codecs import AUDIO_CONTAINERS, CONTAINERS, VIDEO_CODECS, audio_codec, check_present, video_codec
from openltx.media.colour import BT709, rgb_to_10bit, rgb_to_rgb24
from openltx.media.pixels import pictures
from openltx.media.sequences import write_png_sequence
from openltx.media.sound import int16_codes
from openltx.media.texts import read_texts

SOFTWARE = [
    (suffix, codec)
    for suffix, kind in CONTAINERS.items()
    for codec in kind.video
    if not VIDEO_CODECS[codec].hardware and codec not in ("gif", "webp")
]
RATES = [23.976, 24, 25, 29.97, 30, 50, 59.94, 120]
CLAPS = [
    (".mp4", "h264", "aac"),
    (".mp4", "h265", "opus"),
    (".mp4", "av1", "flac"),
    (".mov", "prores", "pcm"),
    (".mov", "h264", "aac"),
    (".mkv", "ffv1", "flac"),
    (".mkv", "h264", "aac"),
    (".webm", "vp9", "opus"),
]
AAC_FRAME = 1024


def _clip(frames: int = 12, height: int = 48, width: int = 64) -> torch.Tensor:
    """A soft picture that moves: what a codec is made for."""
    t, y, x = torch.meshgrid(
        torch.arange(frames) / 12, torch.linspace(0, 3, height), torch.linspace(0, 4, width), indexing="ij"
    )
    waves = [torch.sin(x + 3 * t), torch.cos(y - 2 * t), torch.sin(x * y + t)]
    return 0.5 + 0.4 * torch.stack(waves, dim=-1)


def _noise(samples: int) -> torch.Tensor:
    return torch.rand(2, samples, generator=torch.Generator().manual_seed(1)) * 1.8 - 0.9


def _psnr(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float(-10 * ((found.float() - wanted.float()) / 255).square().mean().log10())


@pytest.mark.parametrize(("suffix", "codec"), SOFTWARE)
def test_every_codec_keeps_frames_rate_tags_and_texts(tmp_path: Path, suffix: str, codec: str) -> None:
    tags = {"openltx": '{"a": 1}', "prompt": '{"text": "ä"}'}
    encoding = Encoding(video=codec)
    path = write_av(
        tmp_path / f"a{suffix}",
        torch.split(_clip(), 5),
        frame_rate=23.976,
        waveform=_noise(24024),
        encoding=encoding,
        tags=tags,
    )
    info, found = video_info(path), read_tags(path)
    assert (info.height, info.width) == (48, 64)
    assert info.rate == Fraction(24000, 1001)
    assert {name: found[name] for name in tags} == tags
    frames = read_frames(path)
    assert len(frames) == 12
    wanted = VIDEO_CODECS[codec].tags
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        assert wanted is not None
        assert (context.color_primaries, context.color_trc) == (wanted.primaries, wanted.transfer)
        assert (context.colorspace, context.color_range) == (wanted.matrix, wanted.range)
        assert context.pix_fmt == VIDEO_CODECS[codec].pixel_format
    if codec != "h265_hlg":
        assert _psnr(frames, torch.from_numpy(rgb_to_rgb24(_clip()))) > 33


def test_lossless_codecs_are_exact(tmp_path: Path) -> None:
    frames, sound = torch.rand(7, 32, 48, 3), _noise(14000)
    path = write_av(
        tmp_path / "a.mkv",
        torch.split(frames, 3),
        frame_rate=24,
        waveform=sound,
        encoding=Encoding(video="ffv1", audio="flac"),
    )
    assert np.array_equal(read_frames(path).numpy(), rgb_to_rgb24(frames))
    found = read_sound(path)
    assert found is not None
    codes = torch.from_numpy(int16_codes(sound).reshape(-1, 2).T.copy()).float()
    assert torch.equal(found.waveform * 32768, codes)


def test_h264_at_crf_18_is_close(tmp_path: Path) -> None:
    clip = _clip(24, 128, 192)
    path = write_av(tmp_path / "a.mp4", torch.split(clip, 8), frame_rate=24, encoding=Encoding(quality=18))
    weights = torch.tensor(BT709[0])
    luma = [frames.float() @ weights for frames in (read_frames(path), torch.from_numpy(rgb_to_rgb24(clip)))]
    assert _psnr(*luma) > 42


def test_ten_bits_stay_ten_bits(tmp_path: Path) -> None:
    ramp = torch.linspace(0.2, 0.3, 256)[None, None, :, None].expand(3, 32, 256, 3).contiguous()
    path = write_av(tmp_path / "a.mov", [ramp], frame_rate=24, encoding=Encoding(video="prores"))
    deep = read_frames(path, deep=True)
    assert deep.dtype is torch.float32
    assert float((deep / 255 - ramp).abs().mean()) < 0.5 / 255
    assert len(set(deep[0, 0, :, 1].tolist())) > 2 * len(set(read_frames(path)[0, 0, :, 1].tolist()))


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize(("suffix", "video", "audio"), CLAPS)
def test_a_clap_is_heard_when_it_is_seen(tmp_path: Path, suffix: str, video: str, audio: str, rate: float) -> None:
    frames, at = torch.full((16, 64, 64, 3), 0.1), 9
    frames[at] = 0.9
    exact = Fraction(round(rate) * 1000, 1001) if rate != round(rate) else Fraction(round(rate))
    first = round(at / exact * 48000)
    sound = torch.zeros(2, round(16 / exact * 48000))
    sound[:, first : first + 48] = 0.9
    encoding = Encoding(video=video, audio=audio)
    path = write_av(tmp_path / f"a{suffix}", torch.split(frames, 4), frame_rate=rate, waveform=sound, encoding=encoding)
    times = [(time, float(picture.float().mean())) for time, picture in iterate_frames(path)]
    seen = max(times, key=lambda row: row[1])[0]
    assert seen is not None
    assert len(times) == 16
    assert abs(float(seen) - _heard(path)) <= AAC_FRAME / 48000 / 2
    assert abs(float(frame_rate(path) / exact) - 1) < 1e-3


def _heard(path: Path) -> float:
    with av.open(str(path)) as container:
        loudest = (0.0, 0.0)
        for frame in container.decode(container.streams.audio[0]):
            assert frame.time is not None
            values = np.abs(frame.to_ndarray().astype(np.float64)).reshape(-1)
            channels = 1 if frame.format.is_planar else 2
            position = int(values.argmax()) % frame.samples if channels == 1 else int(values.argmax()) // channels
            loudest = max(loudest, (float(values.max()), frame.time + position / frame.sample_rate))
    return loudest[1]


@pytest.mark.parametrize("length", ["video", "own"])
@pytest.mark.parametrize("seconds", [0.1, 3.0])
def test_sound_is_cut_padded_or_left_by_choice(tmp_path: Path, length: str, seconds: float) -> None:
    path = write_av(
        tmp_path / "a.mkv",
        [torch.rand(24, 32, 32, 3)],
        frame_rate=24,
        waveform=_noise(round(seconds * 48000)),
        encoding=Encoding(video="ffv1", audio="pcm", sound_length="own" if length == "own" else "video"),
    )
    sound = read_sound(path)
    assert sound is not None
    assert sound.waveform.shape[1] == (48000 if length == "video" else round(seconds * 48000))


@pytest.mark.parametrize("suffix", [".mp4", ".webp", ".png"])
def test_no_chunk_is_held_while_the_next_is_made(tmp_path: Path, suffix: str) -> None:
    """Memory that does not grow with the clip: what bench media measures in MiB."""
    made: list[weakref.ref[torch.Tensor]] = []

    def frames() -> Iterator[torch.Tensor]:
        for _ in range(6):
            assert not any(chunk() is not None for chunk in made)
            chunk = torch.rand(4, 32, 32, 3)
            made.append(weakref.ref(chunk))
            yield chunk
            del chunk

    if suffix == ".png":
        write_png_sequence(tmp_path / "a", frames())
    else:
        write_av(tmp_path / f"a{suffix}", frames(), frame_rate=24)
    assert len(made) == 6


def test_sound_comes_while_frames_come(tmp_path: Path) -> None:
    asked: list[tuple[int, int]] = []

    def frames() -> Iterator[torch.Tensor]:
        for index in range(6):
            asked.append((index, -1))
            yield torch.rand(8, 32, 32, 3)

    def sound(first: int, count: int) -> torch.Tensor:
        asked.append((first, count))
        return torch.zeros(2, count)

    write_av(tmp_path / "a.mp4", frames(), frame_rate=24, waveform=sound)
    ends = [first + count for first, count in asked if count >= 0]
    assert ends[-1] == 96000
    assert asked.index((5, -1)) > asked.index((16000 * 4, 16000))
    assert sorted(ends) == ends


def test_containers_and_codecs_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    frames = [torch.rand(2, 32, 32, 3)]
    with pytest.raises(ValueError, match=r"video codec of \.mp4 files: expected auto or one of h264.*found prores"):
        write_av(tmp_path / "a.mp4", frames, frame_rate=24, encoding=Encoding(video="prores"))
    with pytest.raises(ValueError, match="quality: expected 0 to 51 for h264, found 90"):
        write_av(tmp_path / "a.mp4", frames, frame_rate=24, encoding=Encoding(quality=90))
    with pytest.raises(ValueError, match="quality: ffv1 has no such setting"):
        write_av(tmp_path / "a.mkv", frames, frame_rate=24, encoding=Encoding(video="ffv1", quality=3))
    with pytest.raises(ValueError, match="sample rate: expected one of .* for opus, found 44100"):
        write_av(tmp_path / "a.webm", frames, frame_rate=24, waveform=_noise(10), sample_rate=44100)
    with pytest.raises(ValueError, match="hold no sound"):
        audio_codec("auto", ".gif", 48000)
    with pytest.raises(ValueError, match="frames: expected 32x32, found 48x32"):
        write_av(tmp_path / "a.mp4", [*frames, torch.rand(2, 32, 48, 3)], frame_rate=24)
    with pytest.raises(ValueError, match="frame rate: expected a number above 0"):
        write_av(tmp_path / "a.mp4", frames, frame_rate=float("nan"))
    assert list(tmp_path.iterdir()) == []
    assert video_codec("auto", ".webm").name == "vp9"


@pytest.mark.parametrize("name", ["h264_nvenc", "h264_qsv", "h264_amf"])
def test_a_missing_hardware_encoder_is_one_line(tmp_path: Path, name: str) -> None:
    path, encoding = tmp_path / "a.mp4", Encoding(video=name)
    reason = None
    try:
        write_av(path, [torch.rand(2, 256, 256, 3)], frame_rate=24, encoding=encoding)
    except ValueError as error:
        reason = str(error)
    if reason is None:
        assert video_info(path).frames == 2
    else:
        assert name in reason
        assert "\n" not in reason
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", AUDIO_CONTAINERS)
def test_sound_alone(tmp_path: Path, suffix: str) -> None:
    wave = torch.sin(torch.arange(24000) * 0.05).expand(2, -1) * 0.5
    path = write_audio(tmp_path / f"a{suffix}", wave, sample_rate=24000, tags={"openltx": "{}"})
    sound = read_sound(path)
    assert sound is not None
    assert abs(sound.waveform.shape[1] / sound.sample_rate - 1) < 0.06
    if suffix in (".wav", ".flac"):
        assert sound.sample_rate == 24000
        assert torch.equal(sound.waveform * 32768, (wave * 32767).trunc())
    assert read_texts(path)["openltx"] == "{}"


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("suffix", [*CONTAINERS, *AUDIO_CONTAINERS])
def test_every_kind_of_file_carries_texts(tmp_path: Path, suffix: str, frames: int) -> None:
    texts = {"prompt": '{"text": "ä: \\" 球"}', "workflow": "{}", "openltx": json.dumps({"long": "x" * 100_000})}
    if suffix in CONTAINERS:
        path = write_av(tmp_path / f"a{suffix}", [_clip(frames)], frame_rate=12, tags=texts)
        plain = write_av(tmp_path / f"b{suffix}", [_clip(frames)], frame_rate=12)
        assert torch.equal(_shown(path), _shown(plain))
    else:
        path = write_audio(tmp_path / f"a{suffix}", _noise(9600), sample_rate=48000, tags=texts)
        plain = write_audio(tmp_path / f"b{suffix}", _noise(9600), sample_rate=48000)
    found = read_texts(path)
    assert {name: json.loads(found[name]) for name in texts} == {name: json.loads(text) for name, text in texts.items()}
    assert not read_texts(plain).keys() & texts
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [path.name, plain.name]


def _shown(path: Path) -> torch.Tensor:
    if path.suffix not in (".gif", ".webp"):
        return read_frames(path)
    with Image.open(path) as image:
        pictures = []
        for index in range(getattr(image, "n_frames", 1)):
            image.seek(index)
            pictures.append(torch.from_numpy(np.array(image.convert("RGB"))))
    return torch.stack(pictures)


def test_a_webp_tells_its_workflow_where_comfyui_looks(tmp_path: Path) -> None:
    path = write_av(tmp_path / "a.webp", [_clip(2)], frame_rate=12, tags={"workflow": "{}", "prompt": "{1}"})
    with Image.open(path) as image:
        assert image.getexif()[0x0110] == "prompt:{1}"
        assert image.getexif()[0x010F] == "workflow:{}"


@pytest.mark.parametrize("name", [name for name, codec in VIDEO_CODECS.items() if codec.hardware])
def test_hardware_encoders_are_asked_for_what_they_take(name: str) -> None:
    codec = VIDEO_CODECS[name]
    try:
        found = av.codec.Codec(codec.encoder, "w")
    except ValueError:
        with pytest.raises(ValueError, match="this build of PyAV has no such encoder"):
            check_present(codec.encoder)
        return
    assert codec.pixel_format in {known.name for known in found.video_formats or ()}
    assert codec.hardware
    assert name not in [CONTAINERS[suffix].video[0] for suffix in CONTAINERS]  # never chosen on its own


def test_nv12_holds_the_codes_of_i420() -> None:
    clip = _clip(1)
    (planar,), (packed,) = (list(pictures("yuv420", kind)(clip)) for kind in ("yuv420p", "nv12"))
    assert np.array_equal(planar.to_ndarray(), packed.reformat(format="yuv420p").to_ndarray())


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_animations(tmp_path: Path, suffix: str) -> None:
    clip = _clip()
    path = write_av(tmp_path / f"a{suffix}", torch.split(clip, 4), frame_rate=12)
    with Image.open(path) as image:
        assert image.n_frames == 12
        assert image.info.get("loop") == 0
        durations, frames = [], []
        for index in range(12):
            image.seek(index)
            frames.append(torch.from_numpy(np.array(image.convert("RGB"))))
            durations.append(image.info["duration"])
    assert abs(sum(durations) - 1000) < 20
    assert _psnr(torch.stack(frames), torch.from_numpy(rgb_to_rgb24(clip))) > 30


def test_png_sequence(tmp_path: Path) -> None:
    clip = _clip(3)
    folder = write_png_sequence(tmp_path / "a_png", torch.split(clip, 2), tags={"openltx": "{}"})
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["frame_00000.png", "frame_00001.png", "frame_00002.png"]
    with Image.open(folder / names[1]) as image:
        assert np.array_equal(np.array(image), rgb_to_rgb24(clip)[1])
        assert image.info["openltx"] == "{}"
    with pytest.raises(ValueError, match="is there already"):
        write_png_sequence(folder, [clip])
    with pytest.raises(ValueError, match="at least one frame"):
        write_png_sequence(tmp_path / "b", [])
    assert [path.name for path in tmp_path.iterdir()] == ["a_png"]


def test_every_code_of_an_8_bit_picture_survives() -> None:
    codes = torch.arange(256).reshape(1, 16, 16, 1).expand(-1, -1, -1, 3)
    assert np.array_equal(rgb_to_rgb24(codes / 255), codes.numpy())


def test_10_bit_codes_at_the_ends() -> None:
    ends = torch.tensor([0.0, 1.0]).reshape(1, 1, 2, 1).expand(1, 2, 2, 3)
    assert rgb_to_10bit(ends, BT709).luma[0, 0].tolist() == [64, 940]
    with pytest.raises(ValueError, match="even width and height"):
        rgb_to_10bit(torch.zeros(1, 2, 3, 3), BT709)
