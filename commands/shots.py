"""`openltx generate --shots FILE`: a film from a shot list, or with --plan what it still needs."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

FILM, PLAN = "shots", "shots_plan"  # bundled workflows
OWN = ("shots", "folder")  # what such a workflow exposes for the file


def add(command: argparse.ArgumentParser) -> None:
    command.add_argument("--shots", metavar="FILE", help="a film as a shot list (TOML), instead of a prompt")
    command.add_argument("--plan", action="store_true", help="of --shots: show what it still needs, render nothing")


def workflow_of(argv: Sequence[str]) -> str | None:
    """The workflow that a command line with --shots means; None without it."""
    if not any(word == "--shots" or word.startswith("--shots=") for word in argv):
        return None
    return PLAN if "--plan" in argv else FILM


def prepare(arguments: argparse.Namespace) -> dict[str, str]:
    """Chooses the workflow; the values of its inputs. ValueError for a file that cannot be read, and a prompt too."""
    if arguments.prompt is not None:
        raise ValueError("generate: expected a PROMPT or --shots FILE, found both; the shots have prompts of their own")
    path = Path(arguments.shots)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: expected a shot list in TOML, it cannot be read ({error})") from error
    arguments.workflow = arguments.workflow or (PLAN if arguments.plan else FILM)
    return {"shots": text, "folder": str(path.resolve().parent)}


def plan_of(files: Iterable[str]) -> dict[str, str]:
    """The table in a contact sheet, as `plan`; nothing where there is none."""
    from ..media.texts import read_texts
    from ..shots.table import PLAN_TEXT

    texts = (read_texts(Path(file)) for file in files if file.endswith(".png"))
    return next(({"plan": found[PLAN_TEXT]} for found in texts if PLAN_TEXT in found), {})
