"""Encoders on graphics chips: found by trying, offered by `doctor`, refused in one line before a run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from openltx.cli import main
from openltx.media import hardware
from openltx.media.av_writer import Encoding, write_av
from openltx.media.codecs import VIDEO_CODECS, VideoCodec
from openltx.nodes.save import SaveAV

CHIPS = [name for name, codec in VIDEO_CODECS.items() if codec.hardware]
NO_CHIP = av.error.OSError(5, "no such device")


@pytest.fixture
def chips(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """The names in this set can encode, in a machine that has the encoders of all chips."""
    present: set[str] = set()

    def encode(codec: VideoCodec) -> None:
        if codec.name not in present:
            raise NO_CHIP

    monkeypatch.setattr(hardware, "check_present", lambda encoder: None)
    monkeypatch.setattr(hardware, "_encode_one", encode)
    hardware._fault.cache_clear()
    yield present
    hardware._fault.cache_clear()


@pytest.mark.parametrize("name", CHIPS)
def test_a_chip_that_is_not_there_is_refused_before_the_run(chips: set[str], tmp_path: Path, name: str) -> None:
    software = name.split("_")[0]
    assert software in VIDEO_CODECS
    line = f"{name}: this machine cannot encode with it (no such device); choose {software}, which needs no chip"
    assert SaveAV.validate_inputs(codec=name) == f"codec: {line}"
    with pytest.raises(ValueError, match="no such device") as caught:
        write_av(tmp_path / "a.mp4", [torch.rand(1, 64, 64, 3)], frame_rate=24, encoding=Encoding(video=name))
    assert str(caught.value) == line
    assert list(tmp_path.iterdir()) == []


def test_a_chip_that_is_there_is_taken(chips: set[str], capsys: pytest.CaptureFixture[str]) -> None:
    chips |= {"h264_videotoolbox", "h265_nvenc"}
    assert SaveAV.validate_inputs(codec="h264_videotoolbox") is True
    assert main(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["installed"]["video encoders on chips"] == [
        "h265_nvenc",
        "h264_videotoolbox",
    ]


def test_a_chip_is_tried_once(chips: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []
    monkeypatch.setattr(hardware, "_encode_one", lambda codec: tried.append(codec.name))
    for _ in range(3):
        hardware.check_encoder(VIDEO_CODECS["h264_qsv"])
        hardware.check_encoder(VIDEO_CODECS["h264"])  # needs no chip
    assert tried == ["h264_qsv"]


def test_the_trial_encodes_a_picture() -> None:
    """With an encoder that is here for certain; and one that cannot be opened says so."""
    hardware._encode_one(VIDEO_CODECS["h264"])
    broken = VideoCodec(name="x", encoder="libx264", pixel_format="yuv420p", pixels="yuv420", options={"profile": "?"})
    with pytest.raises(av.FFmpegError):
        hardware._encode_one(broken)


def test_names_that_are_no_codec_are_refused_by_the_node() -> None:
    assert SaveAV.validate_inputs(codec="auto") is True
    assert str(SaveAV.validate_inputs(codec="h999")).startswith("codec: expected auto or one of h264, ")


def test_the_figure_of_apples_encoders_is_understood() -> None:
    """FFmpeg takes it in its own unit; here with an encoder that reads the same option everywhere."""
    sizes = []
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 48000)).astype(np.float32)
    for figure in (1, 100):
        context = av.AudioCodecContext.create("aac", "w")
        context.sample_rate, context.layout, context.format = 48000, "stereo", "fltp"
        context.options = VIDEO_CODECS["h264_videotoolbox"].encoder_options(figure)
        packets = []
        for start in range(0, 48000 - 1024, 1024):
            frame = av.AudioFrame.from_ndarray(noise[:, start : start + 1024], format="fltp", layout="stereo")
            frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
            packets += context.encode(frame)
        sizes.append(sum(packet.size for packet in packets))
    assert max(sizes) > 2 * min(sizes)


def test_without_a_chip_nothing_is_written(tmp_path: Path) -> None:
    """Whatever this machine has: what `working` names encodes, what it does not name is refused."""
    working = hardware.working()
    for name in CHIPS:
        path = tmp_path / f"{name}.mkv"
        with suppress(ValueError):
            write_av(path, [torch.rand(2, 256, 256, 3)], frame_rate=24, encoding=Encoding(video=name))
        assert path.exists() == (name in working)
