"""Nodes that bring media in and out: clips, EXR, HDR codes; and the word that they have about bad results."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

import openltx
from openltx.api import load_workflow
from openltx.cli import main
from openltx.media.av_reader import read_frames, read_tags
from openltx.media.av_writer import Encoding, write_av
from openltx.media.curves import ACEScct, LogC3, tonemapped
from openltx.media.exr import exr_folder, read_exr, write_exr
from openltx.media.hdr import source_space
from openltx.media.resize import fill_and_crop
from openltx.media.sequences import write_exr_sequence
from openltx.media.texts import read_texts
from openltx.nodes import decode, frames
from openltx.nodes.clip import LoadClip
from openltx.nodes.hdr import UNDECLARED, CodesToLight, LightToCodes, LoadEXR, PreviewHDR
from openltx.nodes.host.standalone.settings import Settings, use
from openltx.nodes.save import SaveAudio, SaveAV, SaveFrames
from openltx.reproduce import reproduce

needs_exr = pytest.mark.skipif(find_spec("OpenEXR") is None, reason="NOT TESTED: EXR files; no OpenEXR here")
SMALL: dict[str, Any] = {"width": 64, "height": 64, "frames": 9, "steps": 1}
LINEAR = source_space("SRGB_LINEAR")


def _light(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, 3, generator=torch.Generator().manual_seed(2)) * 4


@pytest.fixture
def folder(tmp_path: Path) -> Any:
    (tmp_path / "input").mkdir()
    with use(Settings(input_folder=tmp_path / "input", output_folder=tmp_path / "output")):
        yield tmp_path


@pytest.fixture
def clip(folder: Path) -> Path:
    """Two seconds at 24: frame k is grey k * 5, its sound is k / 50 loud."""
    codes = torch.arange(48) * 5 / 255
    loud = (torch.arange(48) / 50).repeat_interleave(2000).expand(2, -1)
    frames = codes[:, None, None, None].expand(-1, 32, 32, 3)
    encoding = Encoding(video="ffv1", audio="pcm")
    return write_av(folder / "input" / "a.mkv", [frames], frame_rate=24, waveform=loud, encoding=encoding)


def test_a_clip_is_cut_by_seconds(clip: Path) -> None:
    images, audio, rate = LoadClip.execute("a.mkv", 0.5, 0.25, 0.0).args
    assert (images[:, 0, 0, 0] * 255 / 5).round().tolist() == [12, 13, 14, 15, 16, 17]
    assert rate == 24.0
    assert audio["waveform"].shape == (1, 2, 12000)
    assert torch.allclose(audio["waveform"][0, 0, ::2000], torch.arange(12, 18) / 50, atol=1e-4)


def test_a_clip_is_brought_to_a_rate_when_asked(clip: Path) -> None:
    images, audio, rate = LoadClip.execute("a.mkv", 1.0, 0.5, 12.0).args
    assert (images[:, 0, 0, 0] * 255 / 5).round().tolist() == [24, 26, 28, 30, 32, 34]
    assert rate == 12.0
    assert audio["waveform"].shape == (1, 2, 24000)
    assert LoadClip.execute("a.mkv", 0.0, 0.0, 0.0).args[0].shape == (48, 32, 32, 3)
    assert LoadClip.execute("a.mkv", 0.0, 0.1, 23.976).args[2] == 24000 / 1001


def test_a_silent_clip_and_a_missing_one(folder: Path) -> None:
    write_av(folder / "input" / "b.mp4", [torch.rand(3, 32, 32, 3)], frame_rate=24)
    assert LoadClip.execute("b.mp4", 0.0, 0.0, 0.0).args[1] is None
    with pytest.raises(ValueError, match="expected frames in this range, found none"):
        LoadClip.execute("b.mp4", 5.0, 0.0, 0.0)
    with pytest.raises(ValueError, match=r"expected a file in .*, found 'none.mp4'"):
        LoadClip.execute("none.mp4", 0.0, 0.0, 0.0)


@needs_exr
def test_exr_stills_and_folders_come_in(folder: Path) -> None:
    frames = _light(4, 6, 8)
    write_exr_sequence(folder / "input" / "shot", [frames], LINEAR)
    write_exr(folder / "input" / "still.exr", frames[0], LINEAR)
    (folder / "input" / "other").mkdir()
    choice = LoadEXR.define_schema().inputs[0]
    assert list(choice.options) == ["shot", "still.exr"]  # type: ignore[attr-defined]
    exact = frames.half().float()
    assert torch.equal(LoadEXR.execute("shot", 0, 0).args[0], exact)
    assert torch.equal(LoadEXR.execute("shot", 1, 2).args[0], exact[1:3])
    assert torch.equal(LoadEXR.execute("still.exr", 0, 0).args[0], exact[:1])
    for name in ("none", "../input/nothing"):
        with pytest.raises(ValueError, match="expected a file or a folder in"):
            LoadEXR.execute(name, 0, 0)
    before = LoadEXR.fingerprint_inputs("shot", 0, 0)
    write_exr(folder / "input" / "shot" / "frame_00001.exr", frames[0] * 0.5, LINEAR)
    assert LoadEXR.fingerprint_inputs("shot", 0, 0) != before


def test_light_becomes_codes_after_it_is_scaled() -> None:
    light = _light(2, 40, 30)
    codes = LightToCodes.execute(light, "SRGB_LINEAR", "logc3", 16, 16, "crop").args[0]
    assert torch.equal(codes, LogC3.encode(fill_and_crop(light, 16, 16)))
    padded = LightToCodes.execute(light, "ACESCG", "acescct", 64, 64, "pad").args[0]
    assert torch.equal(padded[:, :40, :30], ACEScct.encode(light))
    with pytest.raises(ValueError, match="declare what they hold"):
        LightToCodes.execute(light, UNDECLARED, "acescct", 0, 0, "crop")


@pytest.mark.parametrize("space", ["SRGB_LINEAR", "ACESCG", "ACESCCT"])
@pytest.mark.parametrize("working", ["acescct", "logc3"])
def test_codes_become_the_same_light_again(space: str, working: str) -> None:
    values = _light(2, 8, 8) if space != "ACESCCT" else torch.rand(2, 8, 8, 3) * 0.3 + 0.2
    codes = LightToCodes.execute(values, space, working, 0, 0, "crop").args[0]
    assert 0 <= float(codes.min()) <= float(codes.max()) <= 1
    found = CodesToLight.execute(codes, working, space, 0, 0).args[0]
    inside = torch.ones(2, 8, 8, dtype=torch.bool)
    if (space, working) in (("ACESCG", "logc3"), ("ACESCCT", "logc3")):  # Rec.709 cannot show all colours of ACEScg
        inside = ((codes > LogC3.F).all(-1)) & ((codes < 1).all(-1))
        assert float(inside.float().mean()) > 0.3
    assert torch.allclose(found[inside], values[inside], rtol=3e-3, atol=3e-3)
    assert CodesToLight.execute(codes, working, space, 6, 4).args[0].shape == (2, 4, 6, 3)


def test_the_preview_is_tone_mapped() -> None:
    light = _light(1, 4, 4)
    assert torch.equal(PreviewHDR.execute(light, 1.0).args[0], tonemapped(light, 1.0))
    assert float(PreviewHDR.execute(light * 1000, 0.0).args[0].max()) <= 1.0


@needs_exr
def test_hdr_goes_out_as_exr_and_as_hlg_master(folder: Path) -> None:
    light = _light(3, 32, 32)
    SaveFrames.execute(light, "a", "exr ACESCG")
    paths = exr_folder(folder / "output" / "a_00001__exr")
    assert torch.equal(read_exr(paths[2]), light[2].half().float())
    SaveAV.execute(light, 24.0, "b", "mp4", None, "h265_hlg")
    assert read_frames(folder / "output" / "b_00001_.mp4").shape == (3, 32, 32, 3)


@pytest.mark.parametrize("kind", ["png", pytest.param("exr SRGB_LINEAR", marks=needs_exr)])
def test_a_sequence_carries_its_manifest_and_is_reproduced(tmp_path: Path, kind: str) -> None:
    prompt = load_workflow("text_to_av")
    save = next(name for name, node in prompt.items() if node["class_type"] == "OpenLTXSaveAV")
    inputs = {"images": prompt[save]["inputs"]["images"], "filename_prefix": "a", "kind": kind}
    prompt[save] = {"class_type": "OpenLTXSaveFrames", "inputs": inputs}
    result = openltx.run(prompt, output_folder=tmp_path, prompt="a ball", **SMALL)
    (sequence,) = result.files
    assert sequence.is_dir()
    frames = sorted(sequence.iterdir())
    assert len(frames) == 9
    assert json.loads(read_texts(frames[-1])["openltx"])["result"]["frames"]["shape"] == [9, 64, 64, 3]
    found = reproduce(frames[0])
    assert (found.same, found.same_latents, found.differences) == (True, True, ())


@pytest.mark.parametrize("metadata", [True, False])
def test_a_saved_picture_tells_its_workflow_unless_switched_off(tmp_path: Path, metadata: bool) -> None:
    prompt = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "ball_first.png"}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "a"}},
    }
    (path,) = openltx.run(prompt, output_folder=tmp_path, metadata=metadata).files
    assert ({"prompt", "openltx"} <= read_texts(path).keys()) == metadata
    assert metadata or not read_texts(path)


def _warnings(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if "warning" in line]


@pytest.mark.parametrize(
    ("waveform", "text"),
    [
        (
            torch.full((1, 2, 4800), float("nan")),
            "audio: 9600 samples are NaN or infinite; they are written as silence",
        ),
        (torch.zeros(1, 2, 4800), "audio: silent (peak 0)"),
        (torch.ones(1, 2, 4800), "audio: 100.0% of the samples are clipped"),
        (torch.rand(1, 2, 4800) * 0.1 + 0.3, "audio: the waveform lies 0.35 off its middle (DC)"),
    ],
)
def test_bad_sound_is_told_by_node_and_command_line(
    waveform: torch.Tensor,
    text: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(decode, "decode_audio", lambda *_, **__: (waveform, 48000))
    sizes = [f"--{name}={value}" for name, value in SMALL.items()]
    assert main(["generate", "a ball", "-o", str(tmp_path / "a.mp4"), *sizes]) == 0
    assert f"openltx: warning: {text}" in _warnings(capsys)
    with use(Settings(output_folder=tmp_path)):
        SaveAudio.execute({"waveform": waveform, "sample_rate": 48000}, "b", "wav")
    assert f"openltx: warning: {text}" in _warnings(capsys)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (float("nan"), "video: 110592 values are NaN or infinite; NaN is written as black"),
        (0.0, "video: all black (brightest value 0)"),
    ],
)
def test_bad_frames_are_told_by_node_and_command_line(
    value: float, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(frames, "to_images", lambda chunk: torch.full((1, chunk.shape[2], 64, 64, 3), value))
    sizes = [f"--{name}={value}" for name, value in SMALL.items()]
    assert main(["generate", "a ball", "-o", str(tmp_path / "a.mp4"), *sizes]) == 0
    assert [line for line in _warnings(capsys) if "video:" in line] == [f"openltx: warning: {text}"]  # once, not twice
    with use(Settings(output_folder=tmp_path)):
        SaveAV.execute(torch.full((9, 64, 64, 3), value), 24.0, "b", "mp4")
    assert f"openltx: warning: {text}" in _warnings(capsys)
    assert "openltx" in read_tags(tmp_path / "a.mp4")
