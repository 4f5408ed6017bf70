"""What `run`, `generate` and `queue` take alike: NODE.INPUT settings and the inputs that a workflow exposes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

PREFIX = "input."  # of the options that are a workflow's own, so that they cannot meet ours


def settings(texts: Sequence[str]) -> dict[str, str]:
    """`NODE.INPUT=VALUE` of every --set. Raises ValueError for another form."""
    return dict(_setting(text) for text in texts)


def exposed_values(arguments: argparse.Namespace) -> dict[str, str]:
    """The values of the workflow's own options that were given, by option name."""
    return {name.removeprefix(PREFIX): value for name, value in vars(arguments).items() if name.startswith(PREFIX)}


def _setting(text: str) -> tuple[str, str]:
    target, separator, value = text.partition("=")
    if not separator:
        raise ValueError(f"--set {text}: expected NODE.INPUT=VALUE")
    return target, value
