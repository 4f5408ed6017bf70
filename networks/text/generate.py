"""Text generation with a decoder: one token after the other, each prompt token computed once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator

import torch
from torch import Tensor

from .gemma import GemmaDecoder

Choose = Callable[[Tensor], int]


def greedy(logits: Tensor) -> int:
    """The most likely id; logits (V,)."""
    return int(logits.argmax())


def sampling(generator: torch.Generator, *, temperature: float = 0.7, top_k: int = 50) -> Choose:
    """Draws one of the top_k most likely ids; generator: seeded, on the CPU. The defaults are the reference's.

    Raises ValueError for a temperature or a top_k that is not positive.
    """
    if temperature <= 0 or top_k < 1:
        raise ValueError(f"expected temperature > 0 and top_k >= 1, found {temperature} and {top_k}; see `greedy`")

    def choose(logits: Tensor) -> int:
        best = logits.float().cpu().topk(min(top_k, logits.shape[-1]))
        probabilities = (best.values / temperature).softmax(dim=-1)
        return int(best.indices[torch.multinomial(probabilities, 1, generator=generator)])

    return choose


def greedy_without_repeats(prompt_ids: Iterable[int], *, length: int = 5) -> Choose:
    """The most likely id that does not repeat a run of `length` ids of the prompt or of what was chosen before.

    The result remembers what it chose: one for each text. Raises ValueError for a length below 1.
    """
    if length < 1:
        raise ValueError(f"expected runs of at least 1 id, found {length}")
    history = list(prompt_ids)

    def choose(logits: Tensor) -> int:
        logits = logits.clone()
        logits[_endings(history, length)] = -torch.inf
        history.append(greedy(logits))
        return history[-1]

    return choose


def _endings(history: list[int], length: int) -> list[int]:
    """The ids that followed earlier occurrences of the last length - 1 ids."""
    last = history[len(history) - length + 1 :]
    starts = range(len(history) - length + 1)
    return [history[i + length - 1] for i in starts if history[i : i + length - 1] == last]


def generate(
    decoder: GemmaDecoder, ids: Tensor, *, max_new_tokens: int, stop_ids: Collection[int], choose: Choose = greedy
) -> Iterator[int]:
    """Yield new ids after the prompt ids (1, T), at most max_new_tokens; one of stop_ids is yielded and ends it.

    choose: logits (V,) → id, called once a token (sampling keeps its random generator to itself).
    """
    cache = decoder.new_cache()
    for _ in range(max_new_tokens):
        for state in decoder.hidden_states(ids, cache=cache):
            last = state[:, -1]
        new = choose(decoder.logits(last)[0])
        yield new
        if new in stop_ids:
            return
        ids = torch.tensor([[new]], device=ids.device)
