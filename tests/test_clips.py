"""Clips made ready for IC-LoRAs, and results put back into their source."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from openltx.media.hdr import LOGC3
from openltx.nodes.clips import CompositeClip, CropClip, HDRToLinear, InpaintClip, OutpaintClip, PadClip, StillClip
from openltx.nodes.encode import ClipSize


def _clip(frames: int, height: int, width: int, seed: int = 0) -> Tensor:
    return torch.rand(frames, height, width, 3, generator=torch.Generator().manual_seed(seed))


def test_a_still_is_repeated() -> None:
    picture = _clip(1, 4, 6)
    (clip,) = StillClip.execute(picture, 5).args
    assert clip.shape == (5, 4, 6, 3)
    assert all(torch.equal(frame, picture[0]) for frame in clip)


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("size", [(64, 64), (65, 33), (100, 190)])
def test_cropping_undoes_padding(size: tuple[int, int], double: bool) -> None:
    clip = _clip(11, *size)
    padded, width, height, frames = PadClip.execute(clip, 64, double).args
    assert padded.shape == (frames, height, width, 3)
    assert (width % 64, height % 64, frames) == (0, 0, 17 if double else 9)
    assert 0 <= height - size[0] < 64
    assert 0 <= width - size[1] < 64
    (back,) = CropClip.execute(padded, clip).args
    assert torch.equal(back, clip[:9])


def test_another_clip_is_not_cropped() -> None:
    with pytest.raises(ValueError, match="images: expected 9 or 17 frames of at least 64x64 pixels, found 10 of 64x64"):
        CropClip.execute(_clip(10, 64, 64), _clip(9, 64, 64))
    with pytest.raises(ValueError, match="found 9 of 32x64"):
        CropClip.execute(_clip(9, 64, 32), _clip(9, 64, 64))


def test_borders_are_green_and_the_clip_stays() -> None:
    clip = _clip(3, 4, 6)
    control, mask = OutpaintClip.execute(clip, 1, 2, 3, 4).args
    assert control.shape == (3, 10, 10, 3)
    assert torch.equal(control[:, 2:6, 1:7], clip)
    assert (mask.shape, float(mask.sum())) == ((1, 10, 10), 100 - 24)
    assert torch.allclose(control[mask.expand(3, -1, -1) == 1], torch.tensor([0.4, 1.0, 0.0]))
    with pytest.raises(ValueError, match="outpaint: expected pixels to add"):
        OutpaintClip.execute(clip, 0, 0, 0, 0)


def test_a_hole_grows_and_is_green() -> None:
    clip, mask = _clip(3, 8, 8), torch.zeros(1, 8, 8)
    mask[0, 4, 4] = 1
    control, grown = InpaintClip.execute(clip, mask, 1, 0).args
    assert float(grown.sum()) == 9
    assert torch.allclose(control[1, 3:6, 3:6], torch.tensor([0.4, 1.0, 0.0]).expand(3, 3, 3))
    assert torch.equal(control[:, 0], clip[:, 0])


def test_a_composite_is_the_source_outside_and_the_result_inside() -> None:
    result, source, mask = _clip(5, 16, 16), _clip(4, 16, 16, seed=1), torch.zeros(1, 16, 16)
    mask[:, :, 8:] = 1
    (hard,) = CompositeClip.execute(result, source, mask, 0, 0).args
    assert torch.equal(hard[:, :, :8], source[:, :, :8])
    assert torch.equal(hard[:, :, 8:], result[:4, :, 8:])
    (soft,) = CompositeClip.execute(torch.ones(4, 16, 16, 3), torch.zeros(4, 16, 16, 3), mask, 0, 2).args
    ramp = soft[0, 0, :, 0]
    assert torch.equal(ramp, ramp.sort().values)
    assert ramp[5:11].tolist() == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0], abs=1e-6)
    (wide,) = CompositeClip.execute(result, source, mask, 3, 0).args
    assert torch.equal(wide[:, :, 5:], result[:4, :, 5:])


def test_a_composite_scales_its_source_as_the_model_saw_it() -> None:
    (made,) = CompositeClip.execute(
        torch.ones(1, 8, 8, 3), torch.zeros(1, 16, 16, 3), torch.zeros(1, 16, 16), 0, 0
    ).args
    assert made.shape == (1, 8, 8, 3)
    assert float(made.abs().max()) == 0


def test_hdr_codes_become_light() -> None:
    light = torch.tensor([0.0, 0.18, 1.0, 20.0]).reshape(1, 1, 4, 1).expand(-1, -1, -1, 3)
    (back,) = HDRToLinear.execute(LOGC3.encode(light, "rec709")).args
    assert torch.allclose(back, light, rtol=1e-3, atol=1e-4)


def test_a_size_may_be_several_times_the_clips() -> None:
    assert ClipSize.execute(_clip(10, 70, 100), 32, 4).args == (384, 256, 9)
    assert ClipSize.execute(_clip(10, 70, 100), 64).args == (64, 64, 9)
