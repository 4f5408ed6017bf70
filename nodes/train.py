"""Training: clips with captions → a LoRA file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..training.lora.config import STRATEGIES, LoraConfig, config_of, parse_toml
from ..training.lora.run import Trained, train_lora
from .host.api import compute_device, io, model_files, model_path, output_file, progress, ui
from .load import INSIDE

LONGEST, LARGEST = 8193, 16384


class TrainLora(io.ComfyNode):
    """A LoRA or an IC-LoRA from a folder of clips; goes on where it was stopped."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXTrainLora",
            display_name="Train LoRA (LTX)",
            category="OpenLTX/training",
            description="Trains a LoRA on a folder of clips, each with its caption in a .txt of the same name. "
            "Stopped and queued again with the same settings, it goes on.",
            is_output_node=True,
            not_idempotent=True,
            inputs=[
                io.Combo.Input(
                    "checkpoint",
                    options=model_files("checkpoints"),
                    tooltip="A single-file checkpoint; parts in files of their own go into `more`.",
                ),
                io.Combo.Input(
                    "text_encoder",
                    options=model_files("text_encoders", before=[INSIDE]),
                    default=INSIDE,
                    tooltip="The Gemma file for published checkpoints; the embedded tiny model holds its own.",
                ),
                io.String.Input("folder", default="", tooltip="Folder with videos or pictures and their captions."),
                io.String.Input(
                    "name", default="my_lora", tooltip="Folder below output/training, and the file's name."
                ),
                io.Combo.Input(
                    "strategy",
                    options=list(STRATEGIES),
                    default="t2v",
                    tooltip="t2v: text to video; i2v: the first frame is given; v2v: an IC-LoRA with references.",
                ),
                io.String.Input("references", default="", tooltip="v2v: folder with a clip of the same name for each."),
                io.Int.Input("width", default=768, min=32, max=LARGEST, step=32, tooltip="Pixels; a multiple of 32."),
                io.Int.Input("height", default=512, min=32, max=LARGEST, step=32, tooltip="Pixels; a multiple of 32."),
                io.Int.Input("frames", default=49, min=1, max=LONGEST, step=8, tooltip="Frames of each clip; 8k+1."),
                io.Float.Input("frame_rate", default=24.0, min=1.0, max=240.0, step=0.001, tooltip="Frames a second."),
                io.Boolean.Input("audio", default=True, tooltip="Off: the sound of the clips is left out."),
                io.Int.Input("rank", default=32, min=1, max=1024, tooltip="Size of the LoRA: rows of each matrix."),
                io.Int.Input("steps", default=2000, min=1, max=10**6, tooltip="Training steps in all."),
                io.Float.Input(
                    "learning_rate",
                    default=1e-4,
                    min=1e-7,
                    max=0.1,
                    step=1e-7,
                    tooltip="Height of each step, 0 to 0.1.",
                ),
                io.String.Input(
                    "more",
                    default="",
                    multiline=True,
                    tooltip='Further settings as in the file of `openltx train lora`: lora.targets = ["to_q"] …',
                ),
            ],
            outputs=[
                io.String.Output("lora", tooltip="Path of the LoRA file."),
                io.String.Output("report", tooltip="Layers, steps, and the error before and after."),
            ],
        )

    @classmethod
    def execute(
        cls,
        checkpoint: str,
        text_encoder: str,
        folder: str,
        name: str,
        strategy: str,
        references: str,
        width: int,
        height: int,
        frames: int,
        frame_rate: float,
        audio: bool,
        rank: int,
        steps: int,
        learning_rate: float,
        more: str,
    ) -> io.NodeOutput:
        encoder = None if text_encoder == INSIDE else model_path("text_encoders", text_encoder)
        tables: dict[str, Any] = {
            "output": str(_folder(name)),
            "model": {"checkpoint": str(model_path("checkpoints", checkpoint)), "text_encoder": str(encoder or "")},
            "data": {
                "folder": folder,
                "references": references,
                "width": width,
                "height": height,
                "frames": frames,
                "fps": frame_rate,
                "audio": audio,
            },
            "lora": {"rank": rank, "strategy": strategy},
            "training": {"steps": steps, "learning_rate": learning_rate, "device": str(compute_device())},
        }
        trained = run_watched(config_of(_merged(tables, parse_toml(more, "more")), name="settings", folder=Path.cwd()))
        return io.NodeOutput(str(trained.path), str(trained), ui=ui.PreviewText(str(trained)))


def run_watched(config: LoraConfig) -> Trained:
    """With the host's progress, which also stops it."""
    bar = progress(config.training.steps)
    return train_lora(config, watch=lambda what, done, total: bar.update_absolute(done, total))


def _folder(name: str) -> Path:
    """The folder of a run below the host's output folder; the same one each time, so that it can go on."""
    return output_file(f"training/{name}/{name}", ".safetensors").path.parent


def _merged(tables: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """`more` wins, key by key."""
    sections = {
        key: {**tables[key], **value}
        for key, value in more.items()
        if isinstance(tables.get(key), dict) and isinstance(value, dict)
    }
    return {**tables, **more, **sections}
