"""Fitting a stage into memory: the plan's ways for it, and the next one where memory runs out all the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any
from weakref import WeakKeyDictionary

import torch

from ..model_loaders.parts import DiffusionModel, Lazy
from ..model_loaders.placement import Placement
from ..model_loaders.residents import Resident, evictable, free_unused, in_use, make_room, note_use
from ..model_loaders.streaming import StreamedTransformer, streamed_transformer
from ..networks.transformer import Transformer
from ..plan.choose import fits
from ..plan.machine import this_machine
from ..plan.phases import Job, ways
from ..plan.shares import beside_weights, keeps_text, passes_within
from ..plan.sizes import model_sizes, transformer_sizes
from ..samplers.denoiser import Predict
from ..samplers.guidance import Pass
from ..samplers.state import StreamState
from ..samplers.streams import Streams
from .health import Health
from .host.api import compute_device, warn_user
from .predictor import activation_bytes, kept_text_bytes
from .preview import interruptible

AS_EVER = Placement()
TEXT_POSITIONS = 1024  # of a context, usually
SHARE = 2  # a CPU run is planned only where the weights' own copies take more than 1/SHARE of what is free

_streamed: WeakKeyDictionary[Lazy[Transformer], _Streamed] = WeakKeyDictionary()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the device, or the host, has no memory left."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)


def refuse_lost(error: BaseException) -> None:
    """ValueError, one line, where a GPU has failed: nothing of this process can use it any more."""
    if isinstance(error, RuntimeError) and "CUDA error" in str(error):
        reason = str(error).splitlines()[0]
        raise ValueError(f"the GPU stopped working ({reason}); end this process and start again") from error


class Held:
    """`with Held(model, states, passes) as held:` the transformer of a stage, held as the plan says.

    Where memory runs out, `cheaper` goes on to the next way of the plan. passes: of guidance in an evaluation.
    text: positions of a context. health: of the stage.
    """

    def __init__(
        self,
        model: DiffusionModel,
        states: Streams[StreamState],
        passes: int,
        text: int = TEXT_POSITIONS,
        health: Health | None = None,
    ) -> None:
        self.model, self.states = model, states
        self._ways = stage_placements(model, states, passes, text)
        self.placement = next(self._ways)
        self.health = health or Health()
        self._hooks = ExitStack()
        self._network: Transformer | None = None

    def __enter__(self) -> Held:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._hooks.close()

    @property
    def network(self) -> Transformer:
        """Loaded when it is first asked for; the user may stop it before each of its blocks."""
        if self._network is None:
            self._network, resident = _placed(self.model, self.states, self.placement)
            self._hooks.enter_context(in_use(resident))
            self._hooks.enter_context(interruptible(self._network.transformer_blocks))
        return self._network

    def cheaper(self, error: BaseException) -> None:
        """Let go of the network and take the next way; ValueError if there is none."""
        following = next(self._ways, None)
        if following is None:
            raise ValueError(
                f"out of memory, and the plan has no way that needs less ({error}); "
                "make the clip shorter or smaller, or free memory"
            ) from error
        self._hooks.close()
        self._network, self.placement = None, following
        forget(self.model.transformer)
        if compute_device().type != "cpu":
            make_room(compute_device())
        warn_user(f"out of memory: going on from the last finished step, now with {_words(following)}")

    def predict(self, make: Callable[[Transformer, Placement], Predict]) -> Predict:
        """Predictions by `make(network, placement)`; an evaluation that runs out of memory is made again, cheaper."""
        made: list[tuple[Placement, Predict]] = []

        def predictions(
            passes: Sequence[Pass], latents: Streams[Any], timesteps: Streams[Any], sigmas: Streams[Any], /
        ) -> Sequence[Streams[Any]]:
            while True:
                try:
                    if not made or made[0][0] is not self.placement:
                        made[:] = [(self.placement, make(self.network, self.placement))]
                    evaluate = partial(made[0][1], passes, latents, timesteps, sigmas)
                    return self.health.checked(evaluate, self.network)
                except (RuntimeError, MemoryError) as error:
                    if not is_out_of_memory(error):
                        refuse_lost(error)
                        raise
                    made.clear()
                    failed = error.with_traceback(None)  # its frames hold what is to be freed
                self.cheaper(failed)

        return predictions


def forget(lazy: Lazy[Transformer]) -> None:
    """Drop a transformer from memory, however it is held."""
    forget_streamed(lazy)
    lazy.drop()
    free_unused()


def stage_placements(
    model: DiffusionModel, states: Streams[StreamState], passes: int, text: int = TEXT_POSITIONS
) -> Iterator[Placement]:
    """What the user chose, or the fastest that fits, then everything that needs less; what other networks hold counts
    as free, for they give way.

    On a CPU, and in a host that pages weights itself, the first is to do as ever: nothing is to be chosen there.
    """
    device = compute_device()
    chosen = model.placement
    if chosen is None and (device.type != "cuda" or model.transformer.paged) and not _is_tight(model, device):
        chosen = AS_EVER  # no rehearsal: it would take longer than a small clip
    if chosen is not None:
        yield _complete(chosen, model, states, passes, text, device)
    sizes = model_sizes(
        model.file, model.path.name, model.generation or "", model.transformer.dtype, loras=bool(model.loras)
    )
    machine, started = this_machine(device, given_back=evictable(device)), chosen is not None
    kept = kept_text_bytes(model.config, model.transformer.dtype, states, min(passes, 2), text)
    placement = None
    for way in ways("denoise", sizes, stage_job(states, passes), machine):
        assert way.placement is not None
        placement = replace(way.placement, keep_text=machine.on_cpu or keeps_text(machine.vram - way.vram, kept))
        started = started or fits(way, machine)
        if started and not _same(placement, chosen, model.transformer.paged):
            yield placement
    if not started and placement is not None:
        yield placement  # predictions may be too careful: the least is tried


def _complete(
    placement: Placement,
    model: DiffusionModel,
    states: Streams[StreamState],
    passes: int,
    text: int,
    device: torch.device,
) -> Placement:
    """A placement with what it leaves open: on a GPU as much at once as its size allows, else one pass."""
    if device.type != "cuda":
        return placement if placement.passes_at_once else replace(placement, passes_at_once=1)
    beside = beside_weights(
        torch.cuda.get_device_properties(device).total_memory,
        transformer_sizes(model.file, model.transformer.dtype).total,
    )
    kept = kept_text_bytes(model.config, model.transformer.dtype, states, min(passes, 2), text)
    many = passes_within(beside, _one_pass(model, states))
    return replace(placement, passes_at_once=placement.passes_at_once or many, keep_text=keeps_text(beside, kept))


def _one_pass(model: DiffusionModel, states: Streams[StreamState]) -> int:
    tokens = sum(state.latent.shape[0] * state.latent.shape[1] for state in states.present())
    return activation_bytes(model.config, model.transformer.dtype, tokens)


def _same(placement: Placement, chosen: Placement | None, paged: bool) -> bool:
    """Whether a way holds the weights, and calls the network, as one that was tried."""
    if paged and placement.resident_blocks is not None:
        return True  # the host's business
    plain = placement.resident_blocks is None and placement.feed_forward_chunk is None
    alike = chosen is not None and replace(placement, keep_text=chosen.keep_text) == chosen
    return alike or (chosen == AS_EVER and plain and placement.passes_at_once == 1)


def stage_job(states: Streams[StreamState], passes: int) -> Job:
    """What a stage asks of the transformer, as a plan sees it."""
    counts = states.map(lambda state: state.latent.shape[0] * state.latent.shape[1])
    given = any(bool((state.mask != state.mask.flatten()[0]).any()) for state in states.present())
    return Job(grid=(1, 1, counts.video or 0), sound=counts.audio or 0, passes=passes, evaluations=1, images=given)


def _is_tight(model: DiffusionModel, device: torch.device) -> bool:
    if device.type != "cpu" or model.transformer.paged:
        return False
    sizes = model_sizes(model.file, "", "", model.transformer.dtype, loras=bool(model.loras))
    return SHARE * sizes.weights["denoise"].copied > this_machine(device).ram


def _placed(model: DiffusionModel, states: Streams[StreamState], placement: Placement) -> tuple[Transformer, Resident]:
    """The network, and what holds its weights."""
    device, lazy = compute_device(), model.transformer
    if placement.resident_blocks is None or lazy.paged:
        forget_streamed(lazy)
        return lazy.on(device, memory=_one_pass(model, states)), lazy
    held = _streamed.get(lazy)
    if held is None or held.placement != placement:
        forget(lazy)
        if device.type != "cpu":
            make_room(device)
        network = streamed_transformer(model.clean or lazy.source, model.loras, device, lazy.dtype, placement)
        _streamed[lazy] = held = _Streamed(placement, network, device)
        if device.type != "cpu":
            note_use(held)
    return held.network, held


class _Streamed:
    """A transformer that is streamed; it may be dropped like any other."""

    def __init__(self, placement: Placement, network: StreamedTransformer, device: torch.device) -> None:
        self.placement, self.network, self._device = placement, network, device

    def bytes_on(self, device: torch.device) -> int:
        if self._device != device:
            return 0
        own = (weight for weight in self.network.parameters() if weight.device.type == device.type)
        return sum(weight.nbytes for weight in own) + self.network.device_bytes

    def drop(self) -> None:
        for lazy in [lazy for lazy, held in _streamed.items() if held is self]:
            forget_streamed(lazy)


def forget_streamed(lazy: Lazy[Transformer]) -> None:
    """Drop what was streamed of a transformer that is to be held whole."""
    if lazy in _streamed:
        _streamed.pop(lazy).network.close()


def _words(placement: Placement) -> str:
    held = "all blocks on the device"
    if placement.resident_blocks is not None:
        held = f"{placement.resident_blocks} blocks on the device, the others streamed"
    passes = "" if placement.passes_at_once is None else f", {placement.passes_at_once} pass(es) at once"
    chunk = "" if placement.feed_forward_chunk is None else f", feed-forward in {placement.feed_forward_chunk} tokens"
    return held + passes + chunk
