"""What users' files say: parsed without surprises, and quoted in errors in a few words."""

from __future__ import annotations

import json
import reprlib
from typing import Any

_words = reprlib.Repr()
_words.maxstring = _words.maxother = _words.maxlong = 120
_words.maxlevel = 3


def parse_json(text: str | bytes) -> Any:
    """As `json.loads`; a nesting that is deeper than Python can follow is a JSONDecodeError, too."""
    try:
        return json.loads(text)
    except RecursionError:
        shown = text if isinstance(text, str) else ""
        raise json.JSONDecodeError("expected no more than a few hundred levels of nesting", shown, 0) from None


def quoted(value: object) -> str:
    """`repr` in at most a few hundred characters, whatever the value is."""
    return _words.repr(value)
