"""The prompt enhancement node on the embedded model, whose language model knows no language: form, not sense."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from openltx.model_loaders.parts import TextPart
from openltx.model_loaders.prompt_enhancement import INSTRUCTIONS, chat_ids, gemma3_chat, stop_ids
from openltx.model_loaders.tokenizer import PromptTokenizer
from openltx.nodes import enhance
from openltx.nodes.enhance import OWN, EnhancePrompt
from openltx.nodes.load import INSIDE, LoadModel

CHECKPOINT = Path(__file__).resolve().parents[1] / "assets" / "openltx-tiny-2.3.safetensors"
SETTINGS: dict[str, Any] = {"instruction": "text to video", "seed": 1, "max_tokens": 12, "temperature": 0.7}


@pytest.fixture(scope="module")
def part() -> TextPart:
    found: TextPart = LoadModel.execute(CHECKPOINT.name, INSIDE, "float32").args[1]
    return found


def written(part: TextPart, text: str = "a red ball", **settings: Any) -> str:
    output: Any = EnhancePrompt.execute(part, text, **{**SETTINGS, **settings})
    assert output.ui.as_dict() == {"text": (output.args[0],)}  # it shows what it gives
    return str(output.args[0])


def test_the_seed_decides(part: TextPart) -> None:
    assert written(part) == written(part)
    assert len({written(part, seed=seed, temperature=2.0) for seed in range(4)}) > 1


def test_at_temperature_0_the_seed_does_not_matter(part: TextPart) -> None:
    assert written(part, temperature=0.0) == written(part, temperature=0.0, seed=2)


def test_the_length_is_limited(part: TextPart, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    from openltx.networks.text.generate import generate

    def listening(*given: Any, **options: Any) -> Iterator[int]:
        for token in generate(*given, **{**options, "stop_ids": frozenset()}):
            seen.append(token)
            yield token

    monkeypatch.setattr(enhance, "generate", listening)
    written(part, max_tokens=5)
    assert len(seen) == 5


def test_instructions_and_idea_reach_the_language_model(part: TextPart, monkeypatch: pytest.MonkeyPatch) -> None:
    chats: list[str] = []

    def answer(encoder: Any, chat: str, *more: Any) -> str:
        chats.append(chat)
        return "a"

    monkeypatch.setattr(enhance, "_answer", answer)
    written(part, "a cat", instruction="picture to video", max_tokens=1)
    written(part, "a cat", instruction=OWN, own_instruction="Be brief.", max_tokens=1)
    assert chats == [gemma3_chat(INSTRUCTIONS["picture to video"], "a cat"), gemma3_chat("Be brief.", "a cat")]


def test_an_own_instruction_must_say_something() -> None:
    assert "own_instruction: expected an order" in str(EnhancePrompt.validate_inputs(OWN, " "))
    assert EnhancePrompt.validate_inputs(OWN, "Be brief.") is True
    assert EnhancePrompt.validate_inputs("text to video") is True


def test_nothing_to_enhance_is_refused(part: TextPart) -> None:
    with pytest.raises(ValueError, match="text: expected an idea in words"):
        written(part, " \n")


def test_an_encoder_that_cannot_write_is_refused(part: TextPart, monkeypatch: pytest.MonkeyPatch) -> None:
    other: Any = torch.nn.Module()
    encoder = replace(part.encoder.on(torch.device("cpu")), decoder=other)
    monkeypatch.setattr(type(part.encoder), "on", lambda *given, **options: encoder)
    with pytest.raises(ValueError, match="expected Gemma 3, found the encoder of LTX-2"):
        written(part)


def test_special_tokens_are_never_taken_for_words() -> None:
    """As a sentencepiece tokenizer would: it knows their ids, and reads them in a text letter by letter."""
    ids = {"<bos>": 2, "<start_of_turn>": 105, "<end_of_turn>": 106}
    letters = PromptTokenizer(
        encode=lambda text: [2, *map(ord, text)], decode=lambda ids: "".join(map(chr, ids)), special=ids.get
    )
    found = chat_ids(letters, "<bos><start_of_turn>user\na<end_of_turn>\n<start_of_turn>model\n")
    assert found == [2, 2, 105, *map(ord, "user\na"), 106, ord("\n"), 105, *map(ord, "model\n")]
    assert stop_ids(letters) == {1, 106}
