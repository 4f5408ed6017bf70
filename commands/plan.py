"""`openltx plan`: what each phase of a generation needs here, and how it will run."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from .given import settings

if TYPE_CHECKING:
    from ..plan.machine import Machine
    from ..plan.phases import Job
    from ..plan.sizes import ModelSizes

HELP = "show what a generation needs on this machine, and how it will run"
GIB = 2**30


def add(command: argparse.ArgumentParser) -> None:
    command.add_argument("--model", default="ltx-2.3-22b", metavar="NAME", help="a published model; %(default)s")
    command.add_argument("--weights", default="bf16", metavar="FORMAT", help="bf16, fp8, int8, nvfp4, q8_0, q6_k, q4_k")
    command.add_argument("--checkpoint", metavar="FILE", help="plan for the transformer in a file, not for a name")
    command.add_argument("--width", type=int, default=1280)
    command.add_argument("--height", type=int, default=704)
    command.add_argument("--frames", type=int, default=121)
    command.add_argument("--fps", type=float, default=24.0)
    command.add_argument("--steps", type=int, default=8)
    command.add_argument("--passes", type=int, default=1, help="guidance passes a step: 2 with text guidance, up to 4")
    command.add_argument("--stages", type=int, default=1, choices=(1, 2), help="2: with the upscaler")
    command.add_argument("--image", action="store_true", help="some frames are given")
    command.add_argument("--device", help="cpu, cuda, mps; default: an accelerator if there is one")
    command.add_argument("--vram", type=float, metavar="GIB", help="plan for a GPU with so much free memory")
    command.add_argument("--ram", type=float, metavar="GIB", help="plan for a host with so much free memory")
    command.add_argument("--set", action="append", default=[], metavar="PHASE.way=N", help="another way; see --ways")
    command.add_argument("--ways", action="store_true", help="list all ways of every phase, with their numbers")
    command.add_argument("--json", action="store_true")


def run(arguments: argparse.Namespace) -> int:
    from ..plan.choose import PHASES, make_plan

    model, job, machine = _model(arguments), _job(arguments), _machine(arguments)
    if arguments.ways:
        return _list_ways(model, job, machine)
    given = {}
    for target, value in settings(arguments.set).items():
        phase, _, name = target.partition(".")
        if phase not in PHASES or name != "way" or not value.isdigit():
            raise ValueError(f"--set {target}={value}: expected PHASE.way=N with a phase of {', '.join(PHASES)}")
        given[phase] = int(value)
    plan = make_plan(model, job, machine, given)
    print(json.dumps(plan.as_json(), default=str) if arguments.json else "\n".join(plan.lines()))
    return 0


def _list_ways(model: ModelSizes, job: Job, machine: Machine) -> int:
    from ..plan.choose import PHASES, fits
    from ..plan.phases import ways

    for phase in PHASES:
        for number, way in enumerate(ways(phase, model, job, machine)):
            sizes = f"{way.vram / GIB:8.2f} VRAM {way.ram / GIB:8.2f} RAM {way.seconds:8.1f} s"
            print(f"{phase:<8} {number:>2} {'fits' if fits(way, machine) else '   -'} {sizes}  {way.how}")
    sys.stdout.flush()
    return 0


def _model(arguments: argparse.Namespace) -> ModelSizes:
    import torch

    from ..plan.sizes import model_sizes, published_sizes

    if arguments.checkpoint is None:
        return published_sizes(arguments.model, arguments.weights)
    from ..model_loaders.parts import open_model

    dtype = torch.float32 if arguments.device == "cpu" else torch.bfloat16
    model = open_model(arguments.checkpoint, dtype=dtype)
    return model_sizes(model.file, model.path.name, model.generation or "", dtype)


def _job(arguments: argparse.Namespace) -> Job:
    from ..plan.phases import Job
    from ..samplers.shapes import audio_latent_frames, latent_grid

    for name in ("width", "height", "frames", "steps", "passes"):
        if getattr(arguments, name) < 1:
            raise ValueError(f"--{name}: expected at least 1, found {getattr(arguments, name)}")
    grid = latent_grid(arguments.frames, arguments.height, arguments.width)
    return Job(
        grid=(grid[0], grid[1], grid[2]),
        sound=audio_latent_frames(arguments.frames, arguments.fps),
        passes=arguments.passes,
        evaluations=arguments.steps,
        images=arguments.image,
        upscaled=arguments.stages == 2,
    )


def _machine(arguments: argparse.Namespace) -> Machine:
    import torch

    from ..nodes.host.standalone.runtime import compute_device
    from ..plan.machine import this_machine

    device = compute_device() if arguments.device is None else torch.device(arguments.device)
    if arguments.vram is not None and device.type == "cpu":
        machine = replace(this_machine(torch.device("cpu")), device="cuda", rate=40e12)
    else:
        machine = this_machine(device)
    if arguments.vram is not None:
        machine = replace(machine, free_vram=int(arguments.vram * GIB))
    return machine if arguments.ram is None else replace(machine, free_ram=int(arguments.ram * GIB))
