"""Still images: what the golden vectors leave open."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from openltx.media.images import Pixels, default_crf, prepare_clip, prepare_image, read_image, recompress
from openltx.media.resize import aligned_down, aligned_up, fill_and_crop, fit_and_pad, to_long_side, to_vae_range

SIZES = st.integers(2, 90)


def _picture(height: int = 32, width: int = 48) -> Pixels:
    row, column = np.meshgrid(np.linspace(0, 255, height), np.linspace(0, 255, width), indexing="ij")
    return np.stack([row, column, 255 - row], axis=-1).astype(np.uint8)


def _file(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", **options)
    return buffer.getvalue()


@settings(deadline=None)
@given(SIZES, SIZES, SIZES, SIZES)
def test_resizing_gives_the_size_that_was_asked_for(height: int, width: int, to_height: int, to_width: int) -> None:
    frames = torch.full((2, height, width, 3), 100, dtype=torch.uint8)
    for resized in (fill_and_crop(frames, to_height, to_width), fit_and_pad(frames, to_height, to_width)):
        assert resized.shape == (2, to_height, to_width, 3)
        assert torch.allclose(resized, torch.tensor(100.0))


@settings(deadline=None)
@given(SIZES, SIZES, st.integers(8, 64))
def test_the_long_side_is_as_asked_up_to_its_rounding(height: int, width: int, long_side: int) -> None:
    resized = to_long_side(torch.zeros(1, height, width, 3), long_side)
    assert max(resized.shape[1:3]) in (long_side - 1, long_side)


@given(st.integers(64, 5000), st.integers(64, 5000), st.sampled_from([32, 64]))
def test_aligned_sizes_lie_around_the_size(width: int, height: int, multiple: int) -> None:
    up, down = aligned_up(width, height, multiple), aligned_down(width, height, multiple)
    for size, larger, smaller in zip((width, height), up, down, strict=True):
        assert larger % multiple == smaller % multiple == 0
        assert larger - multiple < size <= larger
        assert smaller <= size < smaller + multiple


def test_a_size_below_the_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 64x64 pixels, found 63x100"):
        aligned_down(63, 100, 64)


def test_a_small_picture_repeats_its_edge_where_it_cannot_be_mirrored() -> None:
    frames = torch.arange(4.0).reshape(1, 2, 2, 1)
    assert fit_and_pad(frames, 2, 5)[0, :, :, 0].tolist() == [[0, 1, 1, 1, 1], [2, 3, 3, 3, 3]]
    assert fit_and_pad(frames, 3, 3)[0, :, :, 0].tolist() == [[0, 1, 0], [2, 3, 2], [0, 1, 0]]


def test_codes_fill_the_range_of_the_vae() -> None:
    assert to_vae_range(torch.tensor([0, 255], dtype=torch.uint8).reshape(1, 1, 2, 1)).flatten().tolist() == [-1, 1]


@pytest.mark.parametrize(
    ("version", "crf"),
    [("2.0", 33), ("2.3", 33), ("2.3-distilled", 33), ("2.4", 18), ("2.5", 18), ("2.10", 18), ("3.0.1", 18)]
    + [(None, 33), ("", 33), ("two", 33), ("2", 33)],
)
def test_compression_follows_the_model_version(version: str | None, crf: int) -> None:
    assert default_crf(version) == crf


def test_recompression_loses_odd_edges_and_little_else() -> None:
    picture = _picture(33, 47)
    compressed = recompress(picture, 18)
    assert compressed.shape == (32, 46, 3)
    assert np.abs(compressed.astype(int) - picture[:32, :46]).mean() < 4
    coarse = np.abs(recompress(picture, 45).astype(int) - picture[:32, :46]).mean()
    assert coarse > np.abs(compressed.astype(int) - picture[:32, :46]).mean()


def test_recompression_can_be_off_and_leaves_slivers_alone() -> None:
    picture = _picture(33, 47)
    assert recompress(picture, 0) is picture
    assert recompress(picture[:1], 33).shape == (1, 47, 3)
    with pytest.raises(ValueError, match="crf: expected a number from 0"):
        recompress(picture, 52)


def test_a_prepared_picture_fits_the_stage() -> None:
    prepared = prepare_image(_picture(33, 47), 64, 96, crf=33)
    assert prepared.shape == (1, 3, 1, 64, 96)
    assert prepared.dtype is torch.float32
    assert float(prepared.abs().max()) <= 1
    assert prepare_clip(torch.zeros(9, 20, 20, 3), 32, 32).shape == (1, 3, 9, 32, 32)


def test_mirrored_orientations_are_left_as_they_are(tmp_path: Path) -> None:
    picture = _picture(4, 6)
    for orientation, shape in ((2, (4, 6, 3)), (5, (4, 6, 3)), (6, (6, 4, 3))):
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = tmp_path / f"{orientation}.png"
        path.write_bytes(_file(Image.fromarray(picture), exif=exif))
        assert read_image(path).shape == shape


def test_alpha_is_dropped_not_composited() -> None:
    picture = _picture(4, 6)
    transparent = np.concatenate([picture, np.zeros((4, 6, 1), np.uint8)], axis=-1)
    assert np.array_equal(read_image(_file(Image.fromarray(transparent))), picture)


def test_an_srgb_profile_changes_nothing_and_a_broken_one_is_ignored_aloud() -> None:
    picture = _picture(4, 6)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    same = read_image(_file(Image.fromarray(picture), icc_profile=profile))
    assert np.abs(same.astype(int) - picture).max() <= 1
    with pytest.warns(UserWarning, match="colour profile"):
        broken = read_image(_file(Image.fromarray(picture), icc_profile=b"no profile at all"))
    assert np.array_equal(broken, picture)


def test_what_is_no_image_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "note.png"
    path.write_text("hello")
    with pytest.raises(ValueError, match="note.png: expected an image"):
        read_image(path)
    with pytest.raises(ValueError, match="missing.png: expected an image"):
        read_image(tmp_path / "missing.png")
    with pytest.raises(ValueError, match="image: expected an image"):
        read_image(b"hello")
