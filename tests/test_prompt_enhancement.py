"""Choosing the next token, and what surrounds a generated prompt."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from openltx.model_loaders.encoder_files import find_encoder
from openltx.model_loaders.prompt_enhancement import chat_ids, clean_response, gemma3_chat
from openltx.networks.text.generate import greedy_without_repeats, sampling

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = next(
    (p for p in (ROOT / "tests/golden/text", ROOT.parent / "shared/golden/text") if (p / "gemma3_tiny").is_dir()), None
)


def test_chat_of_gemma3() -> None:
    assert gemma3_chat("Be brief.", "  Prompt: a cat \n") == (
        "<bos><start_of_turn>user\nBe brief.\n\nPrompt: a cat<end_of_turn>\n<start_of_turn>model\n"
    )


@pytest.mark.skipif(GOLDEN is None, reason="NOT TESTED: chat tokens; no golden/text/gemma3_tiny found")
def test_gemma3_sees_bos_twice_and_the_last_line_break() -> None:
    assert GOLDEN is not None
    tokenizer = find_encoder(GOLDEN / "gemma3_tiny").tokenizer()
    encode, start_of_turn, bos = tokenizer.encode, 7, 2
    ids = encode(gemma3_chat("Be brief.", "a cat"))
    assert chat_ids(tokenizer, gemma3_chat("Be brief.", "a cat")) == ids
    assert ids[:3] == [bos, bos, start_of_turn]
    assert ids[-1:] == encode("\n")[-1:]


def test_cleaning_twice_changes_nothing() -> None:
    once = clean_response(" * “It’s”\N{NO-BREAK SPACE}late – 5−3")
    assert once == "It's\" late - 5-3"
    assert clean_response(once) == once


def test_sampling_stays_among_the_best_and_follows_its_seed() -> None:
    logits = torch.arange(20.0) / 4

    def draw(seed: int) -> list[int]:
        choose = sampling(torch.Generator().manual_seed(seed), temperature=2.0, top_k=4)
        return [choose(logits) for _ in range(64)]

    assert set(draw(0)) == {16, 17, 18, 19}
    assert draw(0) == draw(0)
    assert draw(0) != draw(1)


@pytest.mark.parametrize(("temperature", "top_k"), [(0.0, 5), (1.0, 0)])
def test_impossible_sampling_is_refused(temperature: float, top_k: int) -> None:
    with pytest.raises(ValueError, match="see `greedy`"):
        sampling(torch.Generator(), temperature=temperature, top_k=top_k)


@pytest.mark.parametrize("length", [2, 3, 5])
def test_no_run_of_ids_comes_twice(length: int) -> None:
    logits = torch.tensor([0.0, 3.0, 2.0, 1.0] + 10 * [-1.0])
    ids = [1, 2, 1]
    choose = greedy_without_repeats(ids, length=length)
    ids = ids + [choose(logits) for _ in range(12)]
    runs = [tuple(ids[i : i + length]) for i in range(len(ids) - length + 1)]
    assert len(runs) == len(set(runs))
    assert logits.isfinite().all()


def test_runs_have_a_length() -> None:
    with pytest.raises(ValueError, match="at least 1 id, found 0"):
        greedy_without_repeats([], length=0)
