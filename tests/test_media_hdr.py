"""HDR: curves, spaces, EXR files, the HLG master."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from openltx.media.av_writer import Encoding, write_av
from openltx.media.curves import ACEScct, LogC3, srgb_codes, tonemapped
from openltx.media.exr import (
    exr_folder,
    prepare_exr_clip,
    prepare_exr_reference,
    read_exr,
    read_exr_frames,
    write_exr,
)
from openltx.media.hdr import ACESCCT, SOURCE_SPACES, from_codes, from_unit_range, source_space, to_codes
from openltx.media.hlg import hlg_planes, hlg_signal
from openltx.media.primaries import rotate
from openltx.media.sequences import write_exr_sequence

GOLDEN, TILES = Path(__file__).parent / "golden" / "media" / "hlg_planes.safetensors", 8
needs_exr = pytest.mark.skipif(find_spec("OpenEXR") is None, reason="NOT TESTED: EXR files; no OpenEXR here")


def _light(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, 3, generator=torch.Generator().manual_seed(2)) * 4


@given(st.floats(0.0, 50.0))
def test_curves_are_their_own_inverse(value: float) -> None:
    light = torch.tensor([value])
    for curve in (LogC3, ACEScct):
        assert torch.allclose(curve.decode(curve.encode(light)), light, rtol=2e-4, atol=2e-5)


def test_ends_of_the_curves() -> None:
    ends = torch.tensor([0.0, 1.0])
    assert torch.allclose(LogC3.decode(ends), torch.tensor([-0.01729, 55.08]), rtol=1e-3)
    assert torch.allclose(ACEScct.decode(ends), torch.tensor([-0.00692, 222.86]), rtol=1e-3)


def test_primaries_there_and_back() -> None:
    light = _light(5)
    assert torch.allclose(rotate(rotate(light, "rec709", "acescg"), "acescg", "rec709"), light, atol=1e-5)
    with pytest.raises(ValueError, match="found rec2020 to rec709"):
        rotate(light, "rec2020", "rec709")


def test_codes_of_every_source_space_come_back() -> None:
    for space in SOURCE_SPACES.values():
        values = _light(4, 4) if space.linear else torch.rand(4, 4, 3)
        assert torch.allclose(from_codes(to_codes(values, space), space), values, rtol=1e-3, atol=1e-3)


def test_what_nobody_declared_or_encoded_is_refused() -> None:
    with pytest.raises(ValueError, match="expected one of SRGB_LINEAR, ACESCG, ACESCCT, found None"):
        source_space(None)
    for bad in (torch.tensor([1.5]), torch.tensor([-0.1]), torch.tensor([float("nan")])):
        with pytest.raises(ValueError, match=r"expected codes in \[0, 1\]"):
            from_unit_range(bad)


def test_diffuse_white_is_three_quarters_of_hlg() -> None:
    signal = hlg_signal(torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [1e30, 1e30, 1e30]]))
    assert torch.allclose(signal[:, 0], torch.tensor([0.0, 0.75, 1.0]), atol=1e-4)
    assert float(hlg_signal(torch.tensor([float("nan")] * 3)).abs().max()) == 0


def test_previews() -> None:
    assert srgb_codes(torch.tensor([-1.0, 0.0, 1.0, 9.0])).tolist() == [0, 0, 255, 255]
    grey = tonemapped(torch.tensor([1.0]))
    assert torch.allclose(tonemapped(torch.tensor([0.25]), exposure=2.0), grey)


def test_the_hlg_master_holds_the_codes(tmp_path: Path) -> None:
    """Quality 0 loses nothing."""
    patches = torch.rand(1, 4, 6, 3, generator=torch.Generator().manual_seed(3)) * 3
    frames = patches.repeat_interleave(32, 1).repeat_interleave(32, 2).expand(3, -1, -1, -1).contiguous()
    path = write_av(tmp_path / "a.mp4", [frames], frame_rate=24, encoding=Encoding(video="h265_hlg", quality=0))
    wanted = hlg_planes(frames)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        assert (context.color_primaries, context.color_trc, context.colorspace, context.color_range) == (9, 18, 9, 1)
        assert context.codec_tag == "hvc1"
    for index, planes in enumerate(_decoded_codes(path)):
        for plane, codes in zip(planes, (wanted.luma[index], *wanted.chroma[index]), strict=True):
            assert torch.equal(plane, codes.int())


def test_the_hlg_master_holds_the_golden_planes(tmp_path: Path) -> None:
    """The golden frames, tiled, four times over in one file, so that most are predicted from others.

    Within one code in luma and chroma, every frame: quality 0 loses nothing.
    """
    golden = load_file(GOLDEN)
    frames = golden["@in/scene_linear"].repeat(4, TILES, TILES, 1)
    path = write_av(tmp_path / "a.mp4", [frames], frame_rate=24, encoding=Encoding(video="h265_hlg", quality=0))
    found = _decoded_codes(path)
    assert len(found) == 8
    for index, planes in enumerate(found):
        for plane, name in zip(planes, "yuv", strict=True):
            wanted = golden[f"@out/rec709_{name}"][index % 2].repeat(TILES, TILES)
            assert int((plane - wanted).abs().max()) <= 1


def _decoded_codes(path: Path) -> list[list[torch.Tensor]]:
    """The planes of every frame."""
    found = []
    with av.open(str(path)) as container:
        for picture in container.decode(video=0):
            planes = []
            for plane in picture.planes:
                lines = np.frombuffer(memoryview(plane), np.uint16).reshape(plane.height, plane.line_size // 2)
                planes.append(torch.from_numpy(lines[:, : plane.width].astype(np.int32)))
            found.append(planes)
    return found


@needs_exr
@pytest.mark.parametrize("name", SOURCE_SPACES)
def test_exr_keeps_halves_and_tags(tmp_path: Path, name: str) -> None:
    package: Any = import_module("OpenEXR")
    space = source_space(name)
    pixels = torch.cat([_light(7, 5), torch.full((1, 5, 3), 1e6)])
    write_exr(tmp_path / "a.exr", pixels, space)
    assert torch.equal(read_exr(tmp_path / "a.exr"), pixels.clamp(max=65504).half().float())
    with package.File(str(tmp_path / "a.exr"), header_only=True) as file:
        header = dict(file.header())  # it is emptied when the file closes
    assert header["colorSpace"] == {"SRGB_LINEAR": "sRGB", "ACESCG": "ACEScg", "ACESCCT": "ACEScct"}[name]
    wanted = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3127, 0.3290)
    if name != "SRGB_LINEAR":
        wanted = (0.713, 0.293, 0.165, 0.830, 0.128, 0.044, 0.32168, 0.33767)
    assert header["chromaticities"] == pytest.approx(wanted, abs=1e-6)
    assert header["compression"] == package.ZIP_COMPRESSION


@needs_exr
@pytest.mark.parametrize("compression", ["NO", "RLE", "ZIPS", "ZIP", "PIZ", "DWAA", "DWAB"])
def test_exr_compressions_are_read(tmp_path: Path, compression: str) -> None:
    package: Any = import_module("OpenEXR")
    smooth = torch.linspace(0, 1, 64 * 48 * 3).reshape(64, 48, 3).half()
    channels = {letter: smooth[..., index].numpy().copy() for index, letter in enumerate("RGB")}
    header = {"compression": getattr(package, f"{compression}_COMPRESSION"), "type": package.scanlineimage}
    with package.File(header, channels) as file:
        file.write(str(tmp_path / "a.exr"))
    tolerance = 0.01 if compression.startswith("DWA") else 0.0
    assert float((read_exr(tmp_path / "a.exr") - smooth).abs().max()) <= tolerance


@needs_exr
def test_exr_sequences(tmp_path: Path) -> None:
    frames = _light(4, 6, 8)
    folder = write_exr_sequence(tmp_path / "a_exr", torch.split(frames, 3), source_space("ACESCG"))
    paths = exr_folder(folder)
    assert [path.name for path in paths] == [f"frame_0000{index}.exr" for index in range(4)]
    assert torch.equal(read_exr_frames(paths), frames.half().float())
    assert torch.equal(read_exr_frames(paths, start=1, count=2), frames[1:3].half().float())
    with pytest.raises(ValueError, match="expected more than 9 frames, found 4"):
        read_exr_frames(paths, start=9)
    with pytest.raises(ValueError, match="expected a folder with .exr files"):
        exr_folder(tmp_path)
    write_exr(folder / "odd.exr", frames[0, :4], source_space("ACESCG"))
    with pytest.raises(ValueError, match="odd.exr: expected the size of frame_00000.exr"):
        read_exr_frames(exr_folder(folder))


@needs_exr
def test_exr_that_cannot_be_used_is_refused_by_name(tmp_path: Path) -> None:
    package: Any = import_module("OpenEXR")
    (tmp_path / "a.exr").write_bytes(b"nothing")
    for source in (tmp_path / "a.exr", tmp_path / "none.exr", b"nothing"):
        with pytest.raises(ValueError, match="expected an EXR file that can be read"):
            read_exr(source)
    plane = np.zeros((4, 4), np.float16)
    with package.File({}, {"X": plane, "Y": plane}) as file:
        file.write(str(tmp_path / "xy.exr"))
    with pytest.raises(ValueError, match="xy.exr: expected the channels R, G and B of one size, found X, Y"):
        read_exr(tmp_path / "xy.exr")


def test_without_the_extra_one_line_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "OpenEXR", None)
    for call in (
        lambda: read_exr(b""),
        lambda: write_exr(tmp_path / "a.exr", _light(2, 2), source_space("ACESCG")),
        lambda: write_exr_sequence(tmp_path / "b", [_light(1, 2, 2)], source_space("ACESCG")),
    ):
        with pytest.raises(ValueError, match=r"pip install 'openltx\[exr\]'"):
            call()
    assert list(tmp_path.iterdir()) == []


def test_exr_conditioning_is_encoded_after_it_is_scaled() -> None:
    light = _light(2, 40, 30)
    clip = prepare_exr_clip(light, source_space("SRGB_LINEAR"), 16, 16)
    assert clip.shape == (1, 3, 2, 16, 16)
    assert float(clip.abs().max()) <= 1
    reference = prepare_exr_reference(light, source_space("ACESCCT"), 64, 64)
    assert torch.allclose(reference[0, :, :, :40, :30], light.clamp(0, 1).permute(3, 0, 1, 2) * 2 - 1)
    assert ACESCCT.primaries == "acescg"
