"""Shows that a LoRA teaches the embedded model something new: `python -m openltx.training.lora_concept --out FOLDER`.

Orange is in no clip that the model was trained on; a colour that its video VAE cannot draw (purple comes back blue)
no LoRA of the transformer could teach. A dataset of orange objects, and of known colours beside them, is
drawn and written as media files with captions; a LoRA is trained on it by `train_lora`, loaded by the normal loader,
and the judge looks at clips without and with it: of orange objects, and of what the model knew before.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ..media.av_writer import Encoding, write_av
from ..model_loaders.lora.model import with_lora
from ..model_loaders.lora.strengths import LoraStrengths
from ..model_loaders.parts import open_model
from .embedded import COMMITTED
from .judge import ATTRIBUTES
from .lora.config import LoraConfig, config_of
from .lora.run import train_lora
from .preview import BATCH, SIDE, Heard, Miniature, Settings, generate, held_out_scenes, open_miniature, scores
from .sheet import save_sheet
from .world import SAMPLE_RATE, Scene, make_clip, sample_scene
from .world.picture import BEYOND, PALETTE

COLOUR = next(iter(BEYOND))
KNOWN_SEED, NEW_SEED = 3 * 10**6, 4 * 10**6  # clips of the dataset; held-out ones of a new colour come after them
LEARNT, KEPT = 0.8, 0.05  # share of right colours with the LoRA; what the other attributes may lose on average


@dataclass(frozen=True, kw_only=True)
class Plan:
    """new, known: clips of the dataset; judged: clips of each kind, with and without the LoRA.

    Clips are short, because a colour shows in any frame.
    """

    new: int = 64
    known: int = 48
    judged: int = 48
    frames: int = 25
    steps: int = 1500
    batch: int = 8
    rank: int = 16
    learning_rate: float = 2e-3
    denoising_steps: int = 20


def new_scenes(count: int, *, held_out: bool = False) -> list[Scene]:
    """Scenes like all others, but in the new colour."""
    first = NEW_SEED + held_out * 10**6
    return [replace(sample_scene(first + index, held_out=held_out), colour=COLOUR) for index in range(count)]


def write_dataset(folder: Path, plan: Plan) -> int:
    """Media files with a caption beside each; those that exist are kept. Returns how many there are."""
    folder.mkdir(parents=True, exist_ok=True)
    known = [sample_scene(KNOWN_SEED + index) for index in range(plan.known)]
    scenes = {f"new_{i:03}": scene for i, scene in enumerate(new_scenes(plan.new))}
    scenes |= {f"known_{i:03}": scene for i, scene in enumerate(known)}
    for name, scene in scenes.items():
        path = folder / f"{name}.mp4"
        if path.is_file():
            continue
        clip = make_clip(scene, frames=plan.frames, height=SIDE, width=SIDE)
        (folder / f"{name}.txt").write_text(clip.caption, encoding="utf-8")
        sound = {"waveform": clip.waveform, "sample_rate": SAMPLE_RATE}
        write_av(path, [clip.frames], frame_rate=clip.fps, encoding=Encoding(quality=12), **sound)  # type: ignore[arg-type]
    return len(scenes)


def configuration(checkpoint: Path, out: Path, plan: Plan) -> LoraConfig:
    """All attention and feed-forward layers of both streams: the new word must reach the picture alone."""
    tables: dict[str, Any] = {
        "output": str(out / "orange"),
        "model": {"checkpoint": str(checkpoint)},
        "data": {"folder": str(out / "clips"), "width": SIDE, "height": SIDE, "frames": plan.frames},
        "lora": {"rank": plan.rank, "targets": ["transformer_blocks.*"]},
        "training": {
            "steps": plan.steps,
            "batch": plan.batch,
            "learning_rate": plan.learning_rate,
            "precision": "float32",
            "checkpointing": False,
        },
    }
    return config_of(tables, name="lora_concept", folder=out)


def with_trained(model: Miniature, checkpoint: Path, lora: Path) -> Miniature:
    """The miniature with the LoRA that a user would load."""
    adapted, _ = with_lora(open_model(checkpoint, dtype=torch.float32), lora, LoraStrengths())
    return replace(model, transformer=adapted.transformer.on(torch.device("cpu")))


def judged(model: Miniature, scenes: Sequence[Scene], plan: Plan) -> tuple[dict[str, float], list[Heard]]:
    """Shares of right attributes of clips that are made for the scenes' captions, and the clips."""
    settings, made = Settings(frames=plan.frames, steps=plan.denoising_steps), []
    for start in range(0, len(scenes), BATCH):
        made += generate(model, [scene.caption for scene in scenes[start : start + BATCH]], settings)
    return scores(list(zip(made, scenes, strict=True)), palette=PALETTE | BEYOND), made


def demonstrate(checkpoint: Path, out: Path, plan: Plan) -> dict[str, Any]:
    """Dataset, training, judgement; everything stays in `out`, and a run that was stopped goes on."""
    write_dataset(out / "clips", plan)
    trained = train_lora(configuration(checkpoint, out, plan), watch=_told)
    model = open_miniature(checkpoint)
    models = {"without": model, "with": with_trained(model, checkpoint, trained.path)}
    kinds = {"new": new_scenes(plan.judged, held_out=True), "known": held_out_scenes(plan.judged)}
    figures: dict[str, dict[str, dict[str, float]]] = {}
    for kind, scenes in kinds.items():
        figures[kind] = {}
        for name, one in models.items():
            figures[kind][name], clips = judged(one, scenes, plan)
            rows = [(scene.caption, clip.frames, clip.mel) for scene, clip in zip(scenes, clips, strict=True)]
            save_sheet(rows[:8], out / f"{kind}_{name}.png")
    found = {"training": trained.as_json(), "figures": figures, **verdict(figures)}
    (out / "figures.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    return found


def verdict(figures: dict[str, dict[str, dict[str, float]]]) -> dict[str, bool]:
    """learnt: the new colour is right often enough; kept: what was known before is as good as it was, on average."""
    known = {name: sum(row[key] for key in ATTRIBUTES) / len(ATTRIBUTES) for name, row in figures["known"].items()}
    return {
        "learnt": figures["new"]["with"]["colour"] >= LEARNT > figures["new"]["without"]["colour"],
        "kept": known["with"] >= known["without"] - KEPT,
    }


def _told(what: str, done: int, total: int) -> None:
    if done % 10 == 0:
        print(f"{what}: {done} of {total}", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m openltx.training.lora_concept", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for clips, LoRA, sheets and figures.json")
    parser.add_argument("--checkpoint", type=Path, default=COMMITTED, help="default: the embedded model")
    for name, value in vars(Plan()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value, help=f"default: {value}")
    options = vars(parser.parse_args(arguments))
    torch.set_num_threads(1)
    out, checkpoint = options.pop("out").resolve(), options.pop("checkpoint").resolve()
    found = demonstrate(checkpoint, out, Plan(**options))
    for kind, rows in found["figures"].items():
        for name, row in rows.items():
            print(f"{kind:6}{name:8}" + ", ".join(f"{key} {value:.3g}" for key, value in row.items()))
    print(f"learnt: {found['learnt']}, kept: {found['kept']}; sheets and figures in {out}")
    return 0 if found["learnt"] and found["kept"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
