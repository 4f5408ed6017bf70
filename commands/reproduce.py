"""`openltx reproduce`: run again what made a file, and compare."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

SAME, OTHER = 0, 1
HELP = "run again what made a file, and compare"


def add(command: argparse.ArgumentParser) -> None:
    command.add_argument("file", metavar="FILE", help="a file that openltx or one of its nodes saved")
    command.add_argument("--models", action="append", default=[], metavar="DIR", help="folder with checkpoints/ …")
    command.add_argument("--device", help="cpu, cuda, mps; default: an accelerator if there is one")
    command.add_argument("--json", action="store_true")


def run(arguments: argparse.Namespace) -> int:
    from ..reproduce import reproduce

    found = reproduce(Path(arguments.file), models=arguments.models, device=arguments.device)
    if arguments.json:
        print(json.dumps(asdict(found)))
        return SAME if found.same else OTHER
    latents = {True: "the same latents, ", False: "other latents, ", None: ""}[found.same_latents]
    print(latents + ("the same frames and samples" if found.same else "other frames or samples"))
    print("\n".join(f"  {line}" for line in found.differences) or "  same versions, machine, settings and models")
    return SAME if found.same else OTHER
