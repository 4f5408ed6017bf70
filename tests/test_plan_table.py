"""What a user reads of a plan: the table, and what to change where nothing fits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from openltx.model_loaders.parts import open_model
from openltx.plan.choose import DoesNotFit, Plan, fitting, make_plan
from openltx.plan.machine import CONTEXT, Machine
from openltx.plan.phases import Job, Way, ways
from openltx.plan.sizes import ModelSizes, model_sizes

TINY = Path(__file__).resolve().parents[1] / "assets" / "openltx-tiny-2.3.safetensors"
GIB = 2**30
CARD = Machine(device="cuda", free_vram=8 * GIB, free_ram=32 * GIB, rate=40e12)
JOB = Job(grid=(16, 22, 40), sound=126, passes=2)


@pytest.fixture(scope="module")
def tiny() -> ModelSizes:
    return model_sizes(open_model(TINY, dtype=torch.float32).file, "tiny", "2.3", torch.float32)


def test_the_table() -> None:
    text = Way(phase="text", how="on the CPU", vram=0, ram=3 * GIB, seconds=41.4, on_host=True)
    denoise = Way(phase="denoise", how="resident", vram=int(6.5 * GIB), ram=GIB, seconds=107.6)
    assert Plan(model="ltx", job=JOB, machine=CARD, ways=(text, denoise)).lines() == [
        "ltx: 1280x704 pixels, 121 frames, 8 steps of 2 passes",
        "8.0 GiB on cuda and 32.0 GiB of RAM free; seconds for 40 TFLOP/s",
        "phase     VRAM, GiB  RAM, GiB  seconds  how",
        "text           0.00      3.00     41.4  on the CPU",
        "denoise        6.50      1.00    107.6  resident",
        "at most 6.50 GiB of VRAM (denoise), 3.00 GiB of RAM (text); 149 s in all",
    ]


def test_where_nothing_fits_three_changes_are_named_and_each_helps(tiny: ModelSizes) -> None:
    job = Job(grid=(16, 44, 60), sound=126)
    least = min(way.vram for way in ways("denoise", tiny, job, CARD))
    small = replace(CARD, free_vram=CONTEXT + int(0.9 * least))
    assert next(fitting("denoise", tiny, job, small), None) is None
    with pytest.raises(
        DoesNotFit, match=r"denoise: expected at least .* GiB of VRAM .*, found .*; the cheapest"
    ) as error:
        make_plan(tiny, job, small)
    line = str(error.value)
    assert "\n" not in line
    changes = line.split("the cheapest changes: ")[1].split("; ")
    assert len(changes) == 3, changes
    assert sum("frames" in change for change in changes) == 2
    assert sum("pixels" in change for change in changes) == 2
