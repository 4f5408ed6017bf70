"""Prompt → token ids as the models were trained on (text.md section 2)."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..given_text import parse_json
from .checkpoint import CheckpointError

BOS = 2
MAX_TOKENS = 1024


@dataclass(frozen=True, kw_only=True)
class PromptTokenizer:
    """`encode` maps stripped text to ids, with or without bos; `max_length` counts bos.

    decode: ids → text, without special tokens; special: the id of a special token by its name, None for no such one.
    """

    encode: Callable[[str], list[int]]
    decode: Callable[[Sequence[int]], str]
    special: Callable[[str], int | None]
    max_length: int = MAX_TOKENS

    def __call__(self, prompt: str, *, max_length: int | None = None) -> list[int]:
        """Ids of the stripped prompt: bos first, no eos, no padding, at most max_length (default: self.max_length).

        Warns, one line, when the end of the prompt is cut off.
        """
        limit = self.max_length if max_length is None else max_length
        ids = self.encode(prompt.strip())
        if not ids or ids[0] != BOS:
            ids = [BOS, *ids]
        if len(ids) > limit:
            warnings.warn(f"the prompt has {len(ids)} tokens; the last {len(ids) - limit} are cut off", stacklevel=2)
        return ids[:limit]


def tokenizer_from_json(
    text: str, *, add_bos: bool | None = None, own_length: bool = False, origin: str = "tokenizer.json"
) -> PromptTokenizer:
    """From the text of a `tokenizer.json`.

    add_bos: `add_bos_token` of a tokenizer_config.json, which then overrides the file's own post-processor.
    own_length: take the maximum length from the file's truncation settings where it has them.
    Raises CheckpointError, one line with `origin`, when the text is no tokenizer.
    """
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_str(text)
    except Exception as error:  # the package raises bare Exception
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise CheckpointError(f"{origin}: no readable tokenizer.json ({reason}); download it again") from error
    truncation = tokenizer.truncation or {}
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def encode(prompt: str) -> list[int]:
        try:
            ids: list[int] = tokenizer.encode(prompt, add_special_tokens=add_bos is None).ids
        except Exception as error:  # of a file whose parts do not fit each other
            reason = (str(error) or type(error).__name__).splitlines()[0][:200]
            raise CheckpointError(f"{origin}: the tokenizer cannot encode ({reason}); download it again") from error
        return [BOS, *ids] if add_bos else ids

    def decode(ids: Sequence[int]) -> str:
        return str(tokenizer.decode(list(ids), skip_special_tokens=True))

    length = truncation.get("max_length", MAX_TOKENS) if own_length else MAX_TOKENS
    limit = min(length, MAX_TOKENS)
    return PromptTokenizer(encode=encode, decode=decode, special=tokenizer.token_to_id, max_length=limit)


def add_bos_setting(text: str | None, *, origin: str) -> bool | None:
    """`add_bos_token` of the text of a tokenizer_config.json; None where there is no file or no such entry."""
    if text is None:
        return None
    try:
        setting = parse_json(text).get("add_bos_token")
    except (ValueError, AttributeError) as error:
        raise CheckpointError(f"{origin}: expected a JSON object, found something else; download it again") from error
    return None if setting is None else bool(setting)


def sentencepiece_installed() -> bool:
    return importlib.util.find_spec("sentencepiece") is not None


def tokenizer_from_sentencepiece(model: bytes, *, origin: str) -> PromptTokenizer:
    """From a serialized sentencepiece model; literal special tokens in a prompt are then ordinary text.

    Raises CheckpointError when the optional package is not installed or the bytes are no model.
    """
    if not sentencepiece_installed():
        raise CheckpointError(
            f"{origin}: its tokenizer is a sentencepiece model, and the package sentencepiece is not installed; "
            "run 'pip install sentencepiece', or put the encoder's tokenizer.json beside the file"
        )
    from sentencepiece import SentencePieceProcessor

    try:
        processor = SentencePieceProcessor(model_proto=model)
    except RuntimeError as error:
        raise CheckpointError(f"{origin}: no readable sentencepiece model; download it again") from error

    def encode(prompt: str) -> list[int]:
        return [BOS, *processor.encode(prompt, add_bos=False, add_eos=False)]

    def decode(ids: Sequence[int]) -> str:
        return str(processor.decode([new for new in ids if not processor.is_control(new)]))

    def special(name: str) -> int | None:
        found = int(processor.piece_to_id(name))
        return None if found == processor.unk_id() else found

    return PromptTokenizer(encode=encode, decode=decode, special=special)
