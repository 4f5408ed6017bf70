"""Around a language model that rewrites prompts: what it is given, and what is kept of its answer (text.md section 9).

The generation itself is `networks.text.generate.generate`. The instructions are our own.
"""

from __future__ import annotations

import re

from .tokenizer import BOS, PromptTokenizer

EOS, END_OF_TURN = 1, "<end_of_turn>"
SPECIAL = re.compile(r"(<bos>|<start_of_turn>|<end_of_turn>)")
KEEP = (
    "Keep every subject, action, place and word of speech that the user gives; add no cut, camera move or spoken word "
    "that was not asked for. Prefer plain, concrete words. Write one paragraph in English, in the present tense, and "
    "nothing else: no title, no list, no remark."
)
INSTRUCTIONS = {
    "text to video": "You turn a short idea into the description of one video clip with sound. Tell in order of time "
    "what is seen: the subject, how it looks and moves, the place, the light, how the camera stands or moves. Weave in "
    "what is heard: voices, noises, music, or quiet. Speech stands in quotation marks, with who says it and how. If "
    "the idea names a style, begin with it. " + KEEP,
    "picture to video": "You describe how a video clip with sound goes on from a given first picture, which the viewer "
    "sees already. Do not describe the picture again: tell in order of time what moves and changes, how the camera "
    "stands or moves, and what is heard. Speech stands in quotation marks, with who says it and how. " + KEEP,
}
"""What the language model is told, by what is made."""

PLAIN_CHARACTERS = str.maketrans(
    {
        "\N{LEFT SINGLE QUOTATION MARK}": "'",
        "\N{RIGHT SINGLE QUOTATION MARK}": "'",
        "\N{LEFT DOUBLE QUOTATION MARK}": '"',
        "\N{RIGHT DOUBLE QUOTATION MARK}": '"',
        "\N{EM DASH}": "-",
        "\N{EN DASH}": "-",
        "\N{NO-BREAK SPACE}": " ",
        "\N{PRIME}": "'",
        "\N{MINUS SIGN}": "-",
    }
)


def clean_response(text: str) -> str:
    """A generated prompt with plain quotes, dashes and spaces, from its first letter on (all of it without letters)."""
    text = text.translate(PLAIN_CHARACTERS)
    start = next((i for i, character in enumerate(text) if character.isalpha()), 0)
    return text[start:]


def gemma3_chat(instruction: str, request: str) -> str:
    """The text that Gemma 3 continues with its answer. It has no system role: the instruction leads the user's turn.

    `chat_ids` tokenises it: calling the tokenizer would strip the last line break.
    """
    return f"<bos><start_of_turn>user\n{instruction}\n\n{request.strip()}<end_of_turn>\n<start_of_turn>model\n"


def chat_ids(tokenizer: PromptTokenizer, chat: str) -> list[int]:
    """Ids of a chat: bos, then the text with its special tokens. Gemma 3 sees bos twice so, as in the reference.

    Piece by piece, because a sentencepiece tokenizer takes special tokens inside a text for ordinary words.
    """
    ids = [BOS]
    for part in filter(None, SPECIAL.split(chat)):
        known = tokenizer.special(part) if SPECIAL.fullmatch(part) else None
        plain = tokenizer.encode(part) if known is None else [known]
        ids += plain[1:] if known is None and plain[:1] == [BOS] else plain
    return ids


def stop_ids(tokenizer: PromptTokenizer) -> frozenset[int]:
    """Where an answer ends."""
    turn = tokenizer.special(END_OF_TURN)
    return frozenset({EOS} if turn is None else {EOS, turn})
