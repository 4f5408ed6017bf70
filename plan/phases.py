"""Ways to run a phase, from the fastest to the one that needs least; what each needs on a machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch

from ..model_loaders.placement import Placement
from ..networks.latent_upscaler import LatentUpscalerConfig
from ..networks.video_vae.memory import BLEND_BYTES
from .machine import Machine
from .needs import TextConfig, Tokens, decode_need, denoise_need, sound_need, text_need, upscale_need
from .rehearsal import Need
from .sizes import ModelSizes, Weights

Phase = Literal["text", "denoise", "upscale", "decode", "sound"]
CHUNKS = (None, 1024, 256)  # tokens of a feed-forward at once; None: what suits the device
PIECES = (None, 2**25, 2**23, 2**21)  # elements of the decoder's largest map
TILES = (768, 512, 256)  # pixels
TILE_OVERLAP, TILE_FRAMES = 64, 80
STAGED = 3  # blocks in page-locked memory at a time, where they come from a file
HOST_RATE = 1e12  # FLOP/s of the processor beside a GPU


@dataclass(frozen=True, kw_only=True)
class Job:
    """One generation: latent cells, audio latent frames, guidance passes of an evaluation, evaluations in all.

    images: whether some tokens are given. upscaled: whether a second stage runs at twice the size before it.
    prompt: tokens of the longest prompt.
    """

    grid: tuple[int, int, int]
    sound: int
    passes: int = 1
    evaluations: int = 8
    images: bool = False
    upscaled: bool = False
    prompt: int = 1024

    def __str__(self) -> str:
        frames, height, width = self.grid
        steps = f"{self.evaluations} steps of {self.passes} pass{'es' * (self.passes > 1)}"
        return f"{32 * width}x{32 * height} pixels, {8 * frames - 7} frames, {steps}"

    @property
    def tokens(self) -> Tokens:
        frames, height, width = self.grid
        return Tokens(video=frames * height * width, audio=self.sound, distinct=self.images)


@dataclass(frozen=True, kw_only=True)
class Way:
    """How a phase runs and what it is predicted to need: bytes at the peak, weights among them, and seconds.

    On the CPU everything is in `ram`. on_host: on the CPU although there is a GPU. tile: pixels, None: whole frames.
    piece: elements of the decoder's largest map.
    """

    phase: Phase
    how: str
    vram: int
    ram: int
    seconds: float
    placement: Placement | None = None
    tile: int | None = None
    piece: int | None = None
    on_host: bool = False


def ways(phase: Phase, model: ModelSizes, job: Job, machine: Machine) -> Iterator[Way]:
    """From the fastest on. None for a phase that the model has no part for."""
    weights = model.weights.get(phase)
    if weights is None:
        return
    makers = {"text": _text, "denoise": _denoise, "upscale": _upscale, "decode": _decode, "sound": _sound}
    yield from makers[phase](model, weights, job, machine)


def _device(machine: Machine) -> torch.device:
    return torch.device("cpu" if machine.on_cpu else "cuda")


def _way(phase: Phase, how: str, machine: Machine, held: int, host: int, need: Need, extra: float = 0.0) -> Way:
    """held: bytes of weights and slots on the device; host: bytes of the host's own memory."""
    seconds = max(need.operations / machine.rate, extra)
    if machine.on_cpu:
        return Way(phase=phase, how=how, vram=0, ram=host + need.bytes, seconds=seconds)
    return Way(phase=phase, how=how, vram=held + need.bytes, ram=host, seconds=seconds)


def _text(model: ModelSizes, weights: Weights, job: Job, machine: Machine) -> Iterator[Way]:
    assert model.text is not None
    return text_ways(model.text, weights, model.dtype, job.prompt, machine)


def text_ways(config: TextConfig, weights: Weights, dtype: torch.dtype, prompt: int, machine: Machine) -> Iterator[Way]:
    """Of a text encoder alone; prompt: tokens."""
    need = text_need(config, dtype, _device(machine), prompt)
    yield _way("text", "resident", machine, weights.total, weights.copied, need, weights.total / machine.link)
    if not machine.on_cpu:
        yield _on_host("text", weights, need)


def _on_host(phase: Phase, weights: Weights, need: Need) -> Way:
    """By the machine's processor, with weights that are used where the system caches their file."""
    how = f"on the CPU, {weights.total / 2**30:.1f} GiB of weights read from the file as memory allows"
    return Way(phase=phase, how=how, vram=0, ram=need.bytes, seconds=need.operations / HOST_RATE, on_host=True)


def _denoise(model: ModelSizes, weights: Weights, job: Job, machine: Machine) -> Iterator[Way]:
    batches = [job.passes, 1] if job.passes > 1 and not machine.on_cpu else [1]
    placements = [(batch, chunk) for batch in batches for chunk in (CHUNKS if batch == 1 else CHUNKS[:1])]
    for batch, chunk in placements:
        yield _held(model, weights, job, machine, batch, chunk, len(weights.blocks))
    if not weights.blocks:
        return
    for chunk in CHUNKS:
        resident = _room(model, weights, job, machine, chunk)
        if resident is not None:
            yield _held(model, weights, job, machine, 1, chunk, resident)
    yield _held(model, weights, job, machine, 1, CHUNKS[-1], 0)


def _room(model: ModelSizes, weights: Weights, job: Job, machine: Machine, chunk: int | None) -> int | None:
    """Blocks that may stay beside two slots; None where not even the slots fit."""
    need, block = (
        denoise_need(model.transformer, model.dtype, _device(machine), job.tokens, 1, chunk),
        max(weights.blocks),
    )
    memory = machine.ram if machine.on_cpu else machine.vram
    left = memory - need.bytes - weights.outside - 2 * block
    return None if left < 0 else min(left // block, len(weights.blocks) - 1)


def _held(
    model: ModelSizes, weights: Weights, job: Job, machine: Machine, batch: int, chunk: int | None, resident: int
) -> Way:
    need = denoise_need(model.transformer, model.dtype, _device(machine), job.tokens, batch, chunk)
    once = denoise_need(model.transformer, model.dtype, _device(machine), job.tokens, 1, chunk)
    all_passes = Need(bytes=need.bytes, operations=once.operations * job.passes * job.evaluations)
    blocks, streamed = len(weights.blocks), len(weights.blocks) - resident
    whole = not streamed
    largest = max(weights.blocks, default=0)
    held = weights.total if whole else weights.outside + (resident + 2) * largest
    pinned = not whole and not machine.on_cpu and streamed * largest <= machine.ram // 2
    host = weights.copied * held // max(weights.total, 1)
    if not whole and not machine.on_cpu:
        host += streamed * largest if pinned else STAGED * largest
    traffic = streamed * largest * job.evaluations / (machine.link if pinned or machine.on_cpu else machine.disk)
    how = "resident" if whole else f"{resident} of {blocks} blocks resident, {streamed} streamed"
    if not whole and not machine.on_cpu:
        how += " from RAM" if pinned else " from disk"
    how += f", {batch} of {job.passes} passes at once" if job.passes > 1 else ""
    how += "" if chunk is None else f", feed-forward in {chunk} tokens"
    placement = Placement(
        resident_blocks=None if whole else resident, pinned=pinned, passes_at_once=batch, feed_forward_chunk=chunk
    )
    return replace(_way("denoise", how, machine, held, host, all_passes, traffic), placement=placement)


def _upscale(model: ModelSizes, weights: Weights, job: Job, machine: Machine) -> Iterator[Way]:
    if not job.upscaled or model.upscaler is None:
        return iter(())
    frames, height, width = job.grid
    grid = frames, max(1, height // 2), max(1, width // 2)
    return upscale_ways(model.upscaler, weights, model.dtype, grid, machine)


def upscale_ways(
    config: LatentUpscalerConfig, weights: Weights, dtype: torch.dtype, grid: tuple[int, int, int], machine: Machine
) -> Iterator[Way]:
    """Of an upscaler alone, for a latent of `grid` cells."""
    need = upscale_need(config, dtype, _device(machine), grid)
    yield _way("upscale", "resident", machine, weights.total, weights.copied, need)
    if not machine.on_cpu:
        yield _on_host("upscale", weights, need)


def _decode(model: ModelSizes, weights: Weights, job: Job, machine: Machine) -> Iterator[Way]:
    if model.video_decoder is None:
        return
    frames, height, width = job.grid
    for piece in PIECES if not machine.on_cpu else (None,):
        need = decode_need(model.video_decoder, model.dtype, _device(machine), job.grid, piece)
        how = "streamed in time" + ("" if piece is None else f", maps of {piece / 2**20:g} Mi elements")
        yield replace(_way("decode", how, machine, weights.total, weights.copied, need), piece=piece)
    factor = model.video_decoder.factors[1]
    for tile in TILES:
        cells = tile // factor
        if cells >= max(height, width):
            continue
        grid = min(frames, TILE_FRAMES // 8), min(height, cells), min(width, cells)
        need = decode_need(model.video_decoder, model.dtype, _device(machine), grid, PIECES[-1])
        sums = BLEND_BYTES * TILE_FRAMES * height * width * factor**2
        again = (tile / (tile - TILE_OVERLAP)) ** 2 * TILE_FRAMES / (TILE_FRAMES - 24)
        whole = int(need.operations * again * frames * height * width / (grid[0] * grid[1] * grid[2]))
        tiled = Need(bytes=need.bytes + sums, operations=whole)
        way = _way("decode", f"tiles of {tile} pixels, blended", machine, weights.total, weights.copied, tiled)
        yield replace(way, tile=tile, piece=PIECES[-1])


def _sound(model: ModelSizes, weights: Weights, job: Job, machine: Machine) -> Iterator[Way]:
    if model.audio_decoder is None or model.vocoder is None or not job.sound:
        return
    need = sound_need(model.audio_decoder, model.vocoder, _device(machine), job.sound)
    yield _way("sound", "resident, in pieces of 20 s", machine, weights.total, weights.copied, need)
