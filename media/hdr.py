"""Scene-linear light to and from the codes that HDR models work on (spec media_io.md 4.3, 5)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .curves import ACEScct, LogC3
from .primaries import Primaries, rotate

BRIGHTEST = 1e4  # the HDR adapter's own node clamps there


@dataclass(frozen=True, kw_only=True)
class WorkingSpace:
    """A curve and the primaries that it is defined on."""

    name: str
    curve: type[LogC3] | type[ACEScct]
    primaries: Primaries

    def encode(self, linear: Tensor, source: Primaries) -> Tensor:
        """Scene-linear RGB (..., 3) in the primaries `source` -> codes in [0, 1], float32."""
        return self.curve.encode(rotate(linear, source, self.primaries))

    def decode(self, codes: Tensor, target: Primaries) -> Tensor:
        """Codes (..., 3) -> scene-linear RGB in the primaries `target`, float32, at least 0."""
        return rotate(self.curve.decode(codes.float()), self.primaries, target).clamp(min=0)


LOGC3 = WorkingSpace(name="logc3", curve=LogC3, primaries="rec709")
ACESCCT = WorkingSpace(name="acescct", curve=ACEScct, primaries="acescg")
WORKING_SPACES = {space.name: space for space in (LOGC3, ACESCCT)}


@dataclass(frozen=True, kw_only=True)
class SourceSpace:
    """What the numbers of an EXR file mean; `name` as the user declares it, `tag` its colorSpace attribute.

    `linear`: scene-linear light, encoded to ACEScct on load; otherwise the file holds ACEScct codes already.
    """

    name: str
    tag: str
    primaries: Primaries
    linear: bool = True


SOURCE_SPACES = {
    space.name: space
    for space in (
        SourceSpace(name="SRGB_LINEAR", tag="sRGB", primaries="rec709"),
        SourceSpace(name="ACESCG", tag="ACEScg", primaries="acescg"),
        SourceSpace(name="ACESCCT", tag="ACEScct", primaries="acescg", linear=False),
    )
}


def source_space(name: str | None) -> SourceSpace:
    """The declared colour space of EXR input. Raises ValueError for None (nothing was declared) and unknown names."""
    space = SOURCE_SPACES.get(name or "")
    if space is None:
        known = ", ".join(SOURCE_SPACES)
        raise ValueError(f"colour space of EXR files: expected one of {known}, found {name}; declare what they hold")
    return space


def to_codes(pixels: Tensor, space: SourceSpace, working: WorkingSpace = ACESCCT) -> Tensor:
    """EXR values (..., 3) -> codes of the working space in [0, 1]."""
    if space.linear:
        return working.encode(pixels, space.primaries)
    codes = pixels.float().clamp(0, 1)
    return codes if working is ACESCCT else working.encode(ACESCCT.decode(codes, space.primaries), space.primaries)


def from_codes(codes: Tensor, space: SourceSpace, working: WorkingSpace = ACESCCT) -> Tensor:
    """Decoded frames in codes of the working space (..., 3) -> the values that an EXR file in `space` holds."""
    if space.linear:
        return working.decode(codes, space.primaries)
    return codes if working is ACESCCT else ACESCCT.encode(working.decode(codes, space.primaries), space.primaries)


def working_space(name: str) -> WorkingSpace:
    """The working space of this name. Raises ValueError for another."""
    if name not in WORKING_SPACES:
        raise ValueError(f"working space: expected one of {', '.join(WORKING_SPACES)}, found {name}")
    return WORKING_SPACES[name]


def adapter_linear(images: Tensor) -> Tensor:
    """Frames of the HDR adapter (LogC3 codes) -> scene-linear Rec.709, at most 10^4, below nought kept at nought."""
    return LogC3.decode(images.float()).clamp(0, BRIGHTEST)


def from_unit_range(unit: Tensor) -> Tensor:
    """[0, 1] -> the video VAE's [-1, 1]. Raises ValueError for values outside: HDR input is never clamped silently."""
    low, high = (float(unit.min()), float(unit.max())) if unit.numel() else (0.0, 0.0)
    if not 0.0 <= low <= high <= 1.0:
        raise ValueError(f"frames: expected codes in [0, 1], found {low:.4g} to {high:.4g}; encode them first")
    return unit * 2 - 1


def to_unit_range(decoded: Tensor) -> Tensor:
    """The video VAE's [-1, 1] -> [0, 1], clamped."""
    return ((decoded + 1) / 2).clamp(0, 1)
