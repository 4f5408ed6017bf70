"""Latent → frames, piece by piece: nobody holds a whole clip, and where memory runs out a cheaper way goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from ..model_loaders.free_memory import free_vram, give_back, without_holes
from ..model_loaders.parts import Lazy
from ..model_loaders.residents import free_unused, make_room
from ..networks.video_vae.decoder import VideoDecoder
from ..networks.video_vae.limits import piece_elements
from ..networks.video_vae.memory import planned_decode_bytes
from ..networks.video_vae.pixels import to_images
from ..networks.video_vae.tiled import AnyVideoDecoder, decode_tiled_stream
from ..networks.video_vae.tiling import DEFAULT_TILING, BySize, Tiling
from ..plan.machine import MARGIN
from ..plan.needs import decode_need
from ..plan.phases import PIECES, TILE_OVERLAP, TILES
from ..samplers.shapes import pixel_frames
from .host.api import compute_device, progress, warn_user
from .memory import is_out_of_memory, refuse_lost

SHORT = 8  # latent frames: until then the C library's holes are small, and its way is faster


@dataclass(frozen=True)
class Cut:
    """piece: elements of the largest map, None: what suits the device. tile: pixels, None: whole frames."""

    piece: int | None = None
    tile: int | None = None

    def __str__(self) -> str:
        return f"tiles of {self.tile} pixels" if self.tile else f"maps of {(self.piece or 0) / 2**20:g} Mi elements"


CUTS = (*map(Cut, PIECES), *(Cut(PIECES[-1], tile) for tile in TILES))


def decoded_frames(part: Lazy[AnyVideoDecoder], latent: Tensor) -> Iterator[Tensor]:
    """Frames (f, H, W, 3) in 0 … 1, on the CPU, of a latent (1, C, F, H', W'), counted on the node's bar.

    After an error for want of memory, frames that came out are not given again. Raises ValueError where the smallest
    tiles do not fit.
    """
    with without_holes() if latent.shape[2] > SHORT and compute_device().type == "cpu" else nullcontext():
        yield from _decoded_frames(part, latent)


def _decoded_frames(part: Lazy[AnyVideoDecoder], latent: Tensor) -> Iterator[Tensor]:
    device, bar = compute_device(), progress(pixel_frames(latent.shape[2]))
    decoder = part.on(device, memory=planned_decode_bytes(latent, part.dtype))
    latent, done = latent.to(device), 0
    cuts = iter(_cuts(decoder, latent, part.dtype))
    cut = next(cuts)
    while True:
        try:
            for frames in _fresh(_decoded(decoder, latent, cut), done):
                done += len(frames)
                give_back()
                yield frames
                bar.update(len(frames))
                del frames  # one chunk at a time is all that is held
            return
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                refuse_lost(error)
                raise
            failed = error.with_traceback(None)
        free_unused()
        if device.type != "cpu":
            make_room(device, keep=part)
        cut = _next(cuts, failed)
        warn_user(f"out of memory: decoding goes on from frame {done + 1}, in {cut}")


def _decoded(decoder: AnyVideoDecoder, latent: Tensor, cut: Cut) -> Iterator[Tensor]:
    """Chunks (f, H, W, 3) on the CPU."""
    if cut.tile is not None:
        side = BySize(tile_size=cut.tile, overlap=TILE_OVERLAP)
        chunks = decode_tiled_stream(decoder, latent, Tiling(frames=DEFAULT_TILING.frames, height=side, width=side))
    elif isinstance(decoder, VideoDecoder):
        chunks = decoder.decode_stream(latent, limit=cut.piece)
    else:
        chunks = decoder.decode_stream(latent)
    yield from map(lambda chunk: to_images(chunk)[0].cpu(), chunks)


def _fresh(chunks: Iterator[Tensor], done: int) -> Iterator[Tensor]:
    """Without the first `done` frames."""
    met = 0
    for chunk in chunks:
        skipped = min(len(chunk), max(0, done - met))
        met += len(chunk)
        if skipped < len(chunk):
            yield chunk[skipped:]
        del chunk


def _cuts(decoder: AnyVideoDecoder, latent: Tensor, dtype: torch.dtype) -> tuple[Cut, ...]:
    """From the first that fits on; on a CPU from the usual one."""
    device = latent.device
    own = piece_elements(latent)
    known = [cut for cut in CUTS if cut.piece is None or cut.piece < own]
    cells = max(latent.shape[3:])
    known = [cut for cut in known if cut.tile is None or cut.tile < 32 * cells]
    if device.type != "cuda" or not isinstance(decoder, VideoDecoder):
        return tuple(known)
    free = MARGIN * free_vram(device)
    grid = latent.shape[2], latent.shape[3], latent.shape[4]
    whole = [cut for cut in known if cut.tile is None]
    for place, cut in enumerate(whole):
        if decode_need(decoder.config, dtype, torch.device("cuda"), grid, cut.piece).bytes <= free:
            return tuple(known[place:])
    return tuple(known[len(whole) :]) or tuple(known[-1:])


def _next(cuts: Iterator[Cut], error: BaseException) -> Cut:
    cut = next(cuts, None)
    if cut is None:
        raise ValueError(
            f"out of memory, and the decoder has no smaller pieces ({error}); decode a shorter or smaller clip, or "
            "free memory"
        ) from error
    return cut
