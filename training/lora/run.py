"""From a configuration to a LoRA file: cache, adapters, training, samples and files on the way."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ...media.targets import whole_file
from ...model_loaders.assemble import build_on_meta
from ...model_loaders.lora.strengths import class_of
from ...model_loaders.parts import open_model
from ...networks.transformer import Transformer, TransformerConfig
from ..loop import Budget, Run, averaged, train
from ..store import Store
from .adapters import add_adapters, checkpoint_blocks, matching_layers
from .config import LoraConfig
from .export import checked_lora, export_lora
from .precompute import Watch, fill_cache
from .samples import sample_captions, write_samples
from .task import LoraTask

BEGUN = "begun.json"  # in the output folder: what a run that goes on must have in common with the one before
STATE = f"state_{LoraTask.name}"
MAY_CHANGE = ("steps", "save_every", "device", "checkpointing", "folder", "references")


@dataclass(frozen=True, kw_only=True)
class Trained:
    """path: the LoRA; losses: mean errors over a fixed set, without and with it."""

    path: Path
    layers: int
    rank: int
    steps: int
    before: dict[str, float]
    after: dict[str, float]

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "path": str(self.path)}

    def __str__(self) -> str:
        errors = ", ".join(f"{name} {self.before[name]:.4g} -> {self.after[name]:.4g}" for name in self.after)
        return f"{self.path}: rank {self.rank}, {self.layers} layers, {self.steps} steps; error {errors}"


def ignored(what: str, done: int, total: int) -> None:
    """Watches nothing."""


def train_lora(config: LoraConfig, *, watch: Watch = ignored, stop_after: int | None = None) -> Trained:
    """Train until config.training.steps, or go on where the files in the output folder end.

    watch: told of every step; what it raises stops the run after its state was saved. stop_after: steps of this call.
    Raises ValueError, one line, for whatever the user can mend.
    """
    with torch.inference_mode(False), torch.enable_grad():  # hosts run their nodes without gradients
        return _trained(config, watch, stop_after)


def _trained(config: LoraConfig, watch: Watch, stop_after: int | None) -> Trained:
    device = _device(config)
    model = open_model(config.model.checkpoint, dtype=getattr(torch, config.training.precision))
    if model.config.video is None:
        raise ValueError(f"{model.path}: expected a model with video, found sound only; use the whole checkpoint")
    if config.data.audio and model.config.audio is None:
        raise ValueError(f"{model.path}: expected a model with sound, found video only; set data.audio = false")
    names = _target_layers(config, model.config)  # before anything is encoded
    store = Store(folder=config.output / "state")
    _refuse_other_run(config, store)
    cache = fill_cache(config, watch=watch, device=device, extra=sample_captions(config))
    transformer = model.transformer.on(device)
    lora = config.lora
    adapters = add_adapters(transformer, names, rank=lora.rank, scale=lora.scale, seed=config.training.seed)
    if config.training.checkpointing:
        checkpoint_blocks(transformer.transformer_blocks)
    task = LoraTask(config, transformer, adapters, cache)
    before = task.evaluate()

    def after_step(run: Run) -> None:
        watch("training", run.step, config.training.steps)
        saves = run.step % config.training.save_every == 0
        shows = config.samples.every > 0 and run.step % config.samples.every == 0
        if saves or shows:
            with averaged(task, run):
                if saves:
                    export_lora(adapters, config, _path(config, run.step), step=run.step)
                if shows:
                    write_samples(config, transformer, cache, config.output / "samples", step=run.step)

    budget = Budget(steps=config.training.steps)
    train(task, store, budget, stop_after=stop_after, save_every=config.training.save_every, after_step=after_step)
    steps = int(store.notes(STATE)["step"])
    path = export_lora(adapters, config, _path(config), step=steps)
    assert model.generation is not None
    report = checked_lora(path, adapters, generation=model.generation)
    return Trained(path=path, layers=report.applied, rank=lora.rank, steps=steps, before=before, after=task.evaluate())


def _path(config: LoraConfig, step: int | None = None) -> Path:
    name = config.output.name
    return config.output / (f"{name}.safetensors" if step is None else f"{name}_{step:06}.safetensors")


def _device(config: LoraConfig) -> torch.device:
    wanted = config.training.device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=wanted).device
    except (RuntimeError, AssertionError) as error:  # torch says it in either way
        reason = str(error).splitlines()[0]
        raise ValueError(f"training.device: {wanted!r} cannot be used here ({reason}); choose 'cpu'") from error


def _target_layers(config: LoraConfig, network: TransformerConfig) -> list[str]:
    """Without sound only those of the video: the others would learn nothing."""
    names = matching_layers(build_on_meta(lambda: Transformer(network)), config.lora.targets)
    kept = [name for name in names if config.data.audio or class_of(name) == "video"]
    if not kept:
        raise ValueError(f"lora.targets: expected layers of the video with data.audio = false, found {names[0]} …")
    return kept


def _refuse_other_run(config: LoraConfig, store: Store) -> None:
    """ValueError where the output folder holds the state of a run with other settings: it could not go on from it."""
    own, path = _begun(config), config.output / BEGUN
    if not store.has(STATE):
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as beside:
            beside.write_text(json.dumps(own, indent=1), encoding="utf-8")
        return
    former = json.loads(path.read_text(encoding="utf-8"))
    for key in sorted({*own, *former}):
        if own.get(key) != former.get(key):
            raise ValueError(
                f"{config.output}: expected {key} = {former.get(key)!r} as the run there began, found "
                f"{own.get(key)!r}; choose another output folder, or empty this one"
            )


def _begun(config: LoraConfig) -> dict[str, Any]:
    """{section.key: value} of what may not change; files by their names, as folders move."""
    rows: dict[str, Any] = {}
    for section in ("model", "data", "lora", "training"):
        for key, value in asdict(getattr(config, section)).items():
            if key not in MAY_CHANGE:
                rows[f"{section}.{key}"] = value.name if isinstance(value, Path) else value
    return dict(json.loads(json.dumps(rows)))
