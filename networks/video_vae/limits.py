"""Sizes that the encoder and the decoder refuse, and the size of the pieces they work on."""

from __future__ import annotations

from torch import Tensor

from .config import PaddingMode

# Largest feature map that a stream makes: 256 MiB in bfloat16. Enough to keep a device busy, and far below the 2^31
# elements beyond which convolution back ends with 32-bit indices fail.
PIECE_ELEMENTS = 2**27
CPU_PIECE_ELEMENTS = 2**21  # a processor is busy with far less, and works faster on what its cache holds


def piece_elements(x: Tensor) -> int:
    """The limit on the device of x."""
    return CPU_PIECE_ELEMENTS if x.device.type == "cpu" else PIECE_ELEMENTS


def refuse_shape(x: Tensor, channels: int, what: str) -> None:
    if x.ndim != 5 or x.shape[1] != channels or 0 in x.shape:
        raise ValueError(
            f"{what}: expected a tensor (batch, {channels}, frames, height, width), found {tuple(x.shape)}; "
            "use the file of the same model generation"
        )


def refuse_reflected(padding: PaddingMode, height: int, width: int) -> None:
    """height, width in latent cells: reflection needs a second row."""
    if padding == "reflect" and min(height, width) < 2:
        raise ValueError(
            f"this video VAE pads by reflection: expected at least 2x2 latent cells, found {height}x{width}; "
            "use a larger size"
        )


def refuse_chunk(chunk: int) -> None:
    if chunk < 1:
        raise ValueError(f"chunk: expected at least 1 latent frame, found {chunk}")
