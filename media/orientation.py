"""Which way up a decoded frame is shown: the display matrix of a file, as flips and a transposition."""

# h w rows, columns
from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from einops import rearrange
from torch import Tensor

MATRIX = struct.Struct("=9i")


@dataclass(frozen=True, kw_only=True)
class Orientation:
    """Rows and columns exchanged first, then mirrored. All eight EXIF orientations are one of these."""

    transposed: bool = False
    left_right: bool = False
    top_bottom: bool = False

    def upright(self, picture: Tensor) -> Tensor:
        """The picture (h, w, c) as it is to be shown."""
        shown = rearrange(picture, "h w c -> w h c") if self.transposed else picture
        axes = [axis for axis, mirrored in ((0, self.top_bottom), (1, self.left_right)) if mirrored]
        return shown.flip(axes) if axes else shown


def orientation_of(frame: Any) -> Orientation:
    """The orientation that a decoded frame (PyAV) carries; upright where it carries none, or no quarter turn."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None or len(bytes(data)) < MATRIX.size:
        return Orientation()
    # Shown x' = a x + c y, y' = b x + d y, in fixed point.
    a, b, _, c, d, *_ = MATRIX.unpack(bytes(data)[: MATRIX.size])
    if b == c == 0 and a and d:
        return Orientation(left_right=a < 0, top_bottom=d < 0)
    if a == d == 0 and b and c:
        return Orientation(transposed=True, left_right=c < 0, top_bottom=b < 0)
    return Orientation()
