"""Content credentials of what nodes save: the input, its check before a run, and what is stated."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from ..media.certificates import load_identity
from ..media.credentials import available, sign_file
from ..media.targets import Finish
from ..package_version import version
from .host.api import io, metadata_wanted
from .manifest import Graph, seeds_and_models

NONE, SIGNED, WITH_PROMPT = "none", "signed", "signed, with prompt"
CHOICES = (NONE, SIGNED, WITH_PROMPT)
PROMPT_INPUTS = ("text", "texts")


def credentials_input() -> io.BaseInput:
    return io.Combo.Input(
        "credentials",
        options=list(CHOICES),
        default=NONE,
        optional=True,
        tooltip="Content credentials (C2PA): a signed statement that the file is generated, with your certificate. "
        "The prompt is told only if you say so.",
    )


def credentials_problem(choice: str | None) -> bool | str:
    """For `validate_inputs`: a missing certificate shows before a long run, not after it."""
    if choice in (NONE, None):
        return True
    if choice not in CHOICES:
        return f"credentials: expected one of {', '.join(CHOICES)}, found {choice!r}"
    try:
        available()
        load_identity()
    except ValueError as error:
        return str(error)
    return True


def seal(choice: str, hidden: Any) -> Finish | None:
    """What signs a finished file, or None. Raises ValueError as `load_identity`, and without the extra `c2pa`."""
    if choice == NONE:
        return None
    available()
    prompt = getattr(hidden, "prompt", None) or {}
    return partial(sign_file, identity=load_identity(), statement=statement(prompt, with_prompt=choice == WITH_PROMPT))


def statement(prompt: Graph, *, with_prompt: bool) -> dict[str, Any]:
    """What is told of a file's making: the version alone where the host's switch for metadata is off."""
    told: dict[str, Any] = {"openltx": version()}
    if not metadata_wanted():
        return told
    return told | seeds_and_models(prompt) | ({"prompts": _prompts(prompt)} if with_prompt else {})


def _prompts(prompt: Graph) -> list[str]:
    """The texts of all prompt nodes, where they are written in the node itself."""
    nodes = (node for node in prompt.values() if "EncodePrompt" in str(node.get("class_type")))
    inputs: list[Mapping[str, Any]] = [node.get("inputs", {}) for node in nodes]
    texts = (values[name] for values in inputs for name in PROMPT_INPUTS if name in values)
    return [text for text in texts if isinstance(text, str)]
