"""Text generation with a decoder: one token after the other, each prompt token computed once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

import torch
from torch import Tensor

from .gemma import GemmaDecoder

Choose = Callable[[Tensor], int]


def greedy(logits: Tensor) -> int:
    """The most likely id; logits (V,)."""
    return int(logits.argmax())


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
