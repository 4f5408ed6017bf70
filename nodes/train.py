"""Training: clips with captions → a LoRA file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..training.lora.config import STRATEGIES, LoraConfig, config_of, parse_toml
from ..training.lora.run import Trained, train_lora
from .host.api import compute_device, input_sequence, io, model_files, model_path, output_file, progress, ui
from .load import INSIDE

LONGEST, LARGEST = 8193, 16384
OWN_FILES = (  # input, role, tooltip
    ("transformer", "diffusion_models", "In a file of its own (LTX-2.5, repacks), instead of the checkpoint's."),
    ("video_vae", "vae", "In a file of its own."),
    ("audio_vae", "vae", "In a file of its own."),
)


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
                    tooltip="A single-file checkpoint: transformer, connectors, video VAE, audio VAE.",
                ),
                io.Combo.Input(
                    "text_encoder",
                    options=model_files("text_encoders", before=[INSIDE]),
                    default=INSIDE,
                    tooltip="The Gemma file for published checkpoints; the embedded tiny model holds its own.",
                ),
                io.String.Input(
                    "folder", default="", tooltip="Folder in the input folder, with videos or pictures and captions."
                ),
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
                    tooltip='Further settings as in the file of `openltx train lora`: [lora] targets = ["to_q"] …',
                ),
                *(_own_file(*words) for words in OWN_FILES),
            ],
            outputs=[
                io.String.Output("lora", tooltip="Path of the LoRA file; put it into loras to load it."),
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
        transformer: str = INSIDE,
        video_vae: str = INSIDE,
        audio_vae: str = INSIDE,
    ) -> io.NodeOutput:
        whole = str(model_path("checkpoints", checkpoint))
        apart = "" if transformer == INSIDE else str(model_path("diffusion_models", transformer))
        tables: dict[str, Any] = {
            "output": str(_folder(name)),
            "model": {
                "checkpoint": apart or whole,
                "text_encoder": "" if text_encoder == INSIDE else str(model_path("text_encoders", text_encoder)),
                "video_vae": _vae(video_vae, whole if apart else ""),
                "audio_vae": _vae(audio_vae, whole if apart else ""),
            },
            "data": {
                "folder": str(_clips("folder", folder)),
                "references": str(_clips("references", references)) if references else "",
                "width": width,
                "height": height,
                "frames": frames,
                "fps": frame_rate,
                "audio": audio,
            },
            "lora": {"rank": rank, "strategy": strategy},
            "training": {"steps": steps, "learning_rate": learning_rate, "device": str(compute_device())},
        }
        trained = run_watched(config_of(_merged(tables, _further(more)), name="settings", folder=Path.cwd()))
        return io.NodeOutput(str(trained.path), str(trained), ui=ui.PreviewText(str(trained)))


def run_watched(config: LoraConfig) -> Trained:
    """With the host's progress, which also stops it."""
    bar = progress(config.training.steps)
    return train_lora(config, watch=lambda what, done, total: bar.update_absolute(done, total))


def _own_file(name: str, role: str, tooltip: str) -> io.BaseInput:
    options = model_files(role, before=[INSIDE])
    return io.Combo.Input(name, options=options, default=INSIDE, optional=True, tooltip=tooltip)


def _vae(name: str, whole: str) -> str:
    """The file of a VAE; whole: the checkpoint that holds it where the transformer lies elsewhere, else empty."""
    return whole if name == INSIDE else str(model_path("vae", name))


def _clips(name: str, folder: str) -> Path:
    """Where the host lets media be read from."""
    if not folder:
        raise ValueError(f"{name}: expected the name of a folder with clips, found none; put one into the input folder")
    return input_sequence(folder)


def _folder(name: str) -> Path:
    """The folder of a run below the host's output folder; the same one each time, so that it can go on."""
    return output_file(f"training/{name}/lora", ".safetensors").path.parent


def _further(text: str) -> dict[str, Any]:
    """Further settings; none that names a file: a shared workflow must not reach beyond the host's folders."""
    tables = parse_toml(text, "more")
    data = tables.get("data", {})
    named: list[str] = [key for key in ("output", "model") if key in tables]
    named += [f"data.{key}" for key in ("folder", "references") if isinstance(data, dict) and key in data]
    if named:
        raise ValueError(f"more: {named[0]} is set by the node's own inputs; remove it there")
    return tables


def _merged(tables: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """`more` wins, key by key."""
    both = {key for key, value in more.items() if isinstance(value, dict) and isinstance(tables.get(key), dict)}
    return {**tables, **more, **{key: {**tables[key], **more[key]} for key in both}}
