"""The table of formats: what a layer of each needs, how it is padded, and how it is dequantised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from . import mxfp8, nvfp4
from .fp8 import dequantise_fp8
from .int8 import dequantise_int8
from .layer import SCALE, SCALE_2, Dequantise, QuantisedLayer
from .mxfp8 import dequantise_mxfp8
from .nvfp4 import dequantise_nvfp4


@dataclass(frozen=True, kw_only=True)
class Format:
    """dtypes of the weight in the file's spelling; both sizes of a weight are padded to multiples of `padding`."""

    dequantise: Dequantise
    dtypes: tuple[str, ...]
    needs: tuple[str, ...] = (SCALE,)
    padding: int = 1
    values_per_element: int = 1


FORMATS = {
    "float8_e4m3fn": Format(dequantise=dequantise_fp8, dtypes=("F8_E4M3",)),
    "float8_e5m2": Format(dequantise=dequantise_fp8, dtypes=("F8_E5M2",)),
    "int8_tensorwise": Format(dequantise=dequantise_int8, dtypes=("I8",)),
    "mxfp8": Format(dequantise=dequantise_mxfp8, dtypes=("F8_E4M3",), padding=mxfp8.BLOCK),
    "nvfp4": Format(
        dequantise=dequantise_nvfp4,
        dtypes=("U8",),
        needs=(SCALE, SCALE_2),
        padding=nvfp4.BLOCK,
        values_per_element=2,
    ),
}


def dequantise(tensors: Mapping[str, Tensor], layer: QuantisedLayer, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """The weight of a layer, (N', K') as stored, padding included, computed in `dtype` where its tensors lie.

    tensors: by the keys of layer.tensors. Raises ValueError, one line with the layer's name, for scales that do not
    fit the weight.
    """
    return FORMATS[layer.format].dequantise(tensors, layer, dtype)


def stored_shape(layer: QuantisedLayer, shape: tuple[int, ...]) -> tuple[int, ...]:
    """(N', K') of a layer whose weight has this shape in the file."""
    return (*shape[:-1], shape[-1] * FORMATS[layer.format].values_per_element)


def padded(layer: QuantisedLayer, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Logical (N, K) → (N', K')."""
    step = FORMATS[layer.format].padding
    return tuple(-(-size // step) * step for size in shape)
