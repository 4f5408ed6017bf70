"""Transfer curves between linear light and codes in [0, 1]: LogC3, ACEScct, sRGB (spec media_io.md 4.3, 4.5)."""

from __future__ import annotations

import torch
from torch import Tensor


class LogC3:
    """ARRI LogC3 at EI 800. Code 1 is 55.08 in linear light, code 0 slightly below nought."""

    CUT, A, B, C, D, E, F = 0.010591, 5.555556, 0.052272, 0.247190, 0.385537, 5.367655, 0.092809

    @classmethod
    def encode(cls, linear: Tensor) -> Tensor:
        """Linear light -> codes; what is below nought counts as nought."""
        x = linear.clamp(min=0)
        curve = cls.C * torch.log10(cls.A * x + cls.B) + cls.D
        return torch.where(x >= cls.CUT, curve, cls.E * x + cls.F).clamp(0, 1)

    @classmethod
    def decode(cls, codes: Tensor) -> Tensor:
        """Codes, clamped to [0, 1] -> linear light."""
        t = codes.clamp(0, 1)
        curve = (torch.pow(10.0, (t - cls.D) / cls.C) - cls.B) / cls.A
        return torch.where(t >= cls.E * cls.CUT + cls.F, curve, (t - cls.F) / cls.E)


class ACEScct:
    """The grading curve of ACES. Code 1 is 222.86 in linear light, code 0 slightly below nought."""

    A, B, X_BREAK, Y_BREAK = 10.5402377416545, 0.0729055341958355, 0.0078125, 0.155251141552511

    @classmethod
    def encode(cls, linear: Tensor) -> Tensor:
        """Linear light -> codes; what is below nought counts as nought."""
        x = linear.clamp(min=0)
        curve = (torch.log2(x.clamp(min=1e-12)) + 9.72) / 17.52
        return torch.where(x > cls.X_BREAK, curve, cls.A * x + cls.B).clamp(0, 1)

    @classmethod
    def decode(cls, codes: Tensor) -> Tensor:
        """Codes, clamped to [0, 1] -> linear light."""
        t = codes.clamp(0, 1)
        return torch.where(t > cls.Y_BREAK, torch.pow(2.0, 17.52 * t - 9.72), (t - cls.B) / cls.A)


def srgb_encode(linear: Tensor) -> Tensor:
    """Linear light in [0, 1], clamped, -> sRGB signal."""
    x = linear.clamp(0, 1)
    return torch.where(x <= 0.0031308, 12.92 * x, 1.055 * x.pow(1 / 2.4) - 0.055)


def srgb_codes(linear: Tensor) -> Tensor:
    """8-bit sRGB codes of linear light, uint8, rounded: the official proxy of an EXR sequence, without tone mapping."""
    return (srgb_encode(linear) * 255 + 0.5).to(torch.uint8)


def tonemapped(linear: Tensor, exposure: float = 0.0) -> Tensor:
    """Scene-linear light as an sRGB preview in [0, 1]: times 2^exposure, x / (1 + x) (Reinhard), sRGB."""
    x = linear.clamp(min=0) * 2.0**exposure
    return srgb_encode(x / (1 + x))
