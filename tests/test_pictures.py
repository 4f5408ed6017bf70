"""Still images as users mean them: alpha, palettes, 16 bits, mirrored orientations."""

from __future__ import annotations

import io
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from PIL import Image

from openltx.media.pictures import read_picture

PICTURE = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)


def _png(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", **options)
    return buffer.getvalue()


def _deep_png(pixel_format: str, codes: np.ndarray[tuple[int, ...], np.dtype[np.uint16]]) -> bytes:
    context = av.CodecContext.create("png", "w")
    assert isinstance(context, av.VideoCodecContext)
    frame = av.VideoFrame.from_ndarray(codes, format=pixel_format)
    context.width, context.height, context.pix_fmt = frame.width, frame.height, pixel_format.replace("le", "be")
    context.time_base = frame.time_base = Fraction(1, 1)
    frame.pts = 0
    packets = [*context.encode(frame.reformat(format=context.pix_fmt)), *context.encode(None)]
    return b"".join(bytes(packet) for packet in packets)


def test_plain_pictures_are_exact() -> None:
    found = read_picture(_png(Image.fromarray(PICTURE)))
    assert found.dtype is torch.float32
    assert np.array_equal((found * 255).round().numpy(), PICTURE)


def test_alpha_is_kept_or_laid_on_a_background() -> None:
    alpha = np.full((6, 8, 1), 51, np.uint8)
    data = _png(Image.fromarray(np.concatenate([PICTURE, alpha], axis=-1)))
    found = read_picture(data)
    assert found.shape == (6, 8, 4)
    assert torch.allclose(found[..., 3], torch.tensor(0.2))
    laid = read_picture(data, background=(1.0, 0.0, 0.0))
    assert laid.shape == (6, 8, 3)
    assert torch.allclose(laid[..., 0], found[..., 0] * 0.2 + 0.8, atol=1e-6)
    assert torch.allclose(laid[..., 1], found[..., 1] * 0.2, atol=1e-6)


def test_a_palette_with_a_transparent_colour() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putpixel((1, 0), 1)
    found = read_picture(_png(image, transparency=0))
    assert found[0].tolist() == [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 1.0]]


@pytest.mark.parametrize(("pixel_format", "channels"), [("rgb48le", 3), ("rgba64le", 4)])
def test_sixteen_bits_are_kept(pixel_format: str, channels: int) -> None:
    codes = np.random.default_rng(1).integers(0, 65536, (6, 8, channels), dtype=np.uint16)
    found = read_picture(_deep_png(pixel_format, codes))
    assert np.array_equal((found.double() * 65535).round().numpy(), codes)


def test_grey_of_sixteen_bits() -> None:
    codes = np.arange(48, dtype=np.uint16).reshape(6, 8) * 1300
    found = read_picture(_png(Image.fromarray(codes)))
    assert found.shape == (6, 8, 3)
    assert np.array_equal((found[..., 0].double() * 65535).round().numpy(), codes)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = {2: np.fliplr, 3: lambda p: np.rot90(p, 2), 4: np.flipud, 6: lambda p: np.rot90(p, -1)}
    turned |= {8: np.rot90, 5: lambda p: np.swapaxes(p, 0, 1), 7: lambda p: np.swapaxes(np.rot90(p, 2), 0, 1)}
    wanted = turned.get(orientation, lambda p: p)(PICTURE)
    assert np.array_equal((read_picture(_png(Image.fromarray(PICTURE), exif=exif)) * 255).round().numpy(), wanted)


def test_what_is_no_image_is_refused() -> None:
    for data in (b"", b"hello", b"\x89PNG\r\n\x1a\n" + bytes(16) + b"\x10"):
        with pytest.raises(ValueError, match="image: expected an image that can be read"):
            read_picture(data)
