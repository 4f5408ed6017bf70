"""Around a language model that rewrites prompts: what it is given, and what is kept of its answer (text.md section 9).

The generation itself is `networks.text.generate.generate`.
"""

from __future__ import annotations

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

    Tokenise it with `PromptTokenizer.encode`: calling the tokenizer would strip the last line break. Gemma 3 then sees
    bos twice, as it does in the reference.
    """
    return f"<bos><start_of_turn>user\n{instruction}\n\n{request.strip()}<end_of_turn>\n<start_of_turn>model\n"
