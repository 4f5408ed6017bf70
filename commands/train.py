"""`openltx train`: a LoRA from clips, or the embedded tiny model."""

from __future__ import annotations

import argparse
import json
import sys
import threading
from pathlib import Path

DONE, INTERRUPTED = 0, 130
HELP = "train a LoRA, or the embedded tiny model; resumable"


def add(command: argparse.ArgumentParser) -> None:
    kinds = command.add_subparsers(dest="what", metavar="WHAT", required=True)
    embedded = kinds.add_parser("embedded", help="train the embedded tiny model, stage by stage", allow_abbrev=False)
    embedded.add_argument("--stage", help="one stage; default: all, each for its own time")
    embedded.add_argument("--minutes", type=float, default=10.0, help="of one core, that the stage lasts in all")
    lora = kinds.add_parser("lora", help="train a LoRA or IC-LoRA, or go on with it", allow_abbrev=False)
    lora.add_argument("config", metavar="CONFIG.toml", help="model files, clips, sizes, rank, targets, strategy, steps")
    lora.add_argument("--json", action="store_true")


def run(arguments: argparse.Namespace) -> int:
    return _lora(arguments) if arguments.what == "lora" else _embedded(arguments)


def _embedded(arguments: argparse.Namespace) -> int:
    from ..training.embedded import main

    main(["--all"] if arguments.stage is None else ["--stage", arguments.stage, "--minutes", str(arguments.minutes)])
    return DONE


def _lora(arguments: argparse.Namespace) -> int:
    from ..nodes.host.standalone.bars import Bars
    from ..nodes.host.standalone.runtime import stopped_by_ctrl_c
    from ..training.lora.config import read_config
    from ..training.lora.run import train_lora

    config, stop = read_config(Path(arguments.config)), threading.Event()

    with stopped_by_ctrl_c(stop), Bars() as bars:

        def watch(what: str, done: int, total: int) -> None:
            if stop.is_set():
                raise KeyboardInterrupt
            bars.part(what, done, total)

        try:
            trained = train_lora(config, watch=watch)
        except KeyboardInterrupt:
            print(f"openltx: stopped; the same command goes on from {config.output}", file=sys.stderr)
            return INTERRUPTED
    print(json.dumps(trained.as_json()) if arguments.json else trained)
    return DONE
