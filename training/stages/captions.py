"""The embedded tokenizer, and captions as batches of ids."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from ...model_loaders.tokenizer import PromptTokenizer, tokenizer_from_json
from ..embedded_config import Sizes
from ..tokenizer import make_tokenizer
from ..world import sample_scene

SAMPLED = 4000  # captions that the vocabulary is made of
# Words of a user's prompt that the world does not say; each becomes one piece instead of many.
NEIGHBOURS = ("blurry", "noise", "silence", "circle", "square", "grey", "gray", "dog", "cat", "person", "talking")


@lru_cache(maxsize=4)
def tokenizer_text(sizes: Sizes) -> str:
    """The embedded tokenizer.json."""
    texts = [sample_scene(seed).caption for seed in range(SAMPLED)] + [" ".join(NEIGHBOURS)]
    return make_tokenizer(texts, vocabulary=sizes.vocabulary, max_length=sizes.text_length)


@lru_cache(maxsize=4)
def tokenizer(sizes: Sizes) -> PromptTokenizer:
    return tokenizer_from_json(tokenizer_text(sizes), own_length=True, origin="the embedded tokenizer")


def batch_of_ids(captions: list[str], sizes: Sizes) -> tuple[Tensor, Tensor]:
    """ids (B, T) int64 and mask (B, T), padded on the right to the longest."""
    rows = [tokenizer(sizes)(caption) for caption in captions]
    length = max(map(len, rows))
    ids = torch.tensor([row + [0] * (length - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows])
    return ids, mask
