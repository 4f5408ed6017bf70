"""Trains the embedded model: `python -m openltx.training.embedded --stage NAME --minutes M`, or `--all`.

A stage goes on where it stopped, whenever it is started again; it takes one core. Without the optimiser states in the
work folder it goes on from the weights alone, and without those from the committed checkpoint.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from .embedded_config import FILE_NAME, SHIPPED, Sizes
from .loop import Budget, Task, train
from .stages.audio_vae import AudioVAETask
from .stages.latents import fill_cache, fill_own_cache, measure_statistics
from .stages.transformer import TransformerTask
from .stages.video_codec import fit_codec
from .stages.video_decoder import VideoDecoderTask
from .stages.video_encoder import VideoEncoderTask
from .stages.video_finish import VideoFinishTask
from .stages.video_joint import VideoJointTask
from .stages.vocoder import VocoderTask
from .store import WORK, Store

COMMITTED = Path(__file__).resolve().parents[1] / "assets" / FILE_NAME


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Either a task for the loop, with its minutes of one core in the `--all` run, or a job that leaves one file."""

    name: str
    minutes: float = 0.0
    task: Callable[[Sizes, Store], Task] | None = None
    job: Callable[[Sizes, Store], None] | None = None


STAGES = (
    Stage(name="audio_vae", minutes=6, task=AudioVAETask),
    Stage(name="video_codec", job=fit_codec),
    Stage(name="video_decoder", minutes=24, task=VideoDecoderTask),
    Stage(name="vocoder", minutes=6, task=VocoderTask),
    Stage(name="video_encoder", minutes=4, task=VideoEncoderTask),
    Stage(name="statistics", job=measure_statistics),
    Stage(name="latents", job=fill_cache),
    Stage(name="transformer", minutes=25, task=TransformerTask),
    Stage(name="video_joint", minutes=8, task=VideoJointTask),
    Stage(name="video_finish", minutes=40, task=VideoFinishTask),
    Stage(name="own_latents", job=fill_own_cache),
    Stage(name="transformer_again", minutes=40, task=TransformerTask),  # in all, on the encoder's own latents
)


def run_stage(name: str, store: Store, budget: Budget, *, sizes: Sizes = SHIPPED) -> None:
    """Train one stage until its budget is spent. ValueError for an unknown name or a stage that is not due yet."""
    stage = next((stage for stage in STAGES if stage.name == name), None)
    if stage is None:
        raise ValueError(f"stage: expected one of {', '.join(stage.name for stage in STAGES)}, found {name!r}")
    if stage.task is not None:
        train(stage.task(sizes, store), store, budget)
    if stage.job is not None:
        stage.job(sizes, store)


def run_all(store: Store) -> None:
    """Every stage in its order; those that are done cost nothing."""
    for stage in STAGES:
        if stage.job is not None and store.has(stage.name):
            continue
        store.log("all", f"stage {stage.name}, {stage.minutes:g} min in all")
        run_stage(stage.name, store, Budget(minutes=stage.minutes))
    store.log("all", "done")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m openltx.training.embedded", description=__doc__)
    choice = parser.add_mutually_exclusive_group(required=True)
    choice.add_argument("--stage", choices=[stage.name for stage in STAGES], help="train one stage")
    choice.add_argument("--all", action="store_true", help="train every stage for its own time")
    parser.add_argument("--minutes", type=float, default=10.0, help="of a core, that the stage lasts in all")
    parser.add_argument("--work", type=Path, default=WORK, help="folder of weights, states and logs")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    store = Store(folder=options.work, committed=COMMITTED)
    if options.all:
        run_all(store)
    else:
        run_stage(options.stage, store, Budget(minutes=options.minutes))


if __name__ == "__main__":
    main()
