"""What a saved file says of its making: ComfyUI's `prompt` and `workflow`, and our own tag `openltx` beside them.

The prompt holds every setting; the manifest adds what no workflow holds: versions, machine, the models' contents, each
step as it ran (sigmas, dtypes, LoRAs, back end), and the digests of its latents and of the result, so that `openltx
reproduce` can tell which of them differs. None of it when the host's switch for metadata is off.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
import torch
from torch import Tensor

from ..package_version import version
from .host import in_comfyui
from .host.api import compute_device, metadata_wanted, model_path
from .host.files import MODEL_ROLES, MODEL_SUFFIXES
from .made import Steps, digest, made_of, merged_steps

FORMAT = 1
NOISE_ORDER = "seeded CPU generator: video grid, its appended tokens, audio grid, its appended tokens"
SAMPLES, SAMPLE_BYTES = 256, 1 << 16  # 16 MiB of a model are read, however large it is
DIGEST = "digest"  # of a sound on the disk, in place of its waveform
ROWS = 8  # one row in so many goes into the digest of the frames

Graph = Mapping[str, Mapping[str, Any]]


def output_tags(
    hidden: Any, frames: Tensor | Mapping[str, Any] | None, audio: Mapping[str, Any] | None
) -> dict[str, str]:
    """Texts for a file: JSON under `prompt`, each key of `extra_pnginfo` (usually `workflow`), and `openltx`.

    hidden: the node's hidden values, or None outside a run. frames (F, H, W, C), audio: what will be saved, with its
    history, or of frames that are not made yet the history alone, and of a sound on the disk its DIGEST. Empty where
    the host's metadata is switched off.
    """
    if not metadata_wanted():
        return {}
    prompt = getattr(hidden, "prompt", None) or {}
    extra = getattr(hidden, "extra_pnginfo", None) or {}
    tags = {"prompt": json.dumps(prompt)} if prompt else {}
    tags |= {name: json.dumps(value) for name, value in extra.items()}
    return tags | {"openltx": json.dumps(manifest(prompt, frames, audio))}


def manifest(
    prompt: Graph, frames: Tensor | Mapping[str, Any] | None, audio: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The run manifest, ready for JSON."""
    device = compute_device()
    steps = merged_steps(made_of(frames), made_of(audio))
    return {
        "format": FORMAT,
        "versions": {
            "openltx": version(),
            "host": "ComfyUI" if in_comfyui else "standalone",
            "python": platform.python_version(),
            "torch": torch.__version__,
            "av": av.__version__,
        },
        "machine": {"system": platform.platform(), "device": _device_name(device), "threads": torch.get_num_threads()},
        "back_ends": {
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
            "tf32": torch.backends.cuda.matmul.allow_tf32,
            "float32_matmul": torch.get_float32_matmul_precision(),
            "deterministic": torch.are_deterministic_algorithms_enabled(),
        },
        "noise_order": NOISE_ORDER,
        **seeds_and_models(prompt),
        "settings": _literals(prompt, lambda name: "seed" not in name),
        "steps": [{name: value for name, value in step.items() if name != "latent"} for step in steps],
        "result": {
            "latents": _latents(steps),
            "frames": digest(frames if isinstance(frames, Tensor) else None, ROWS),
            "sound": _sound_digest(audio),
        },
    }


def _sound_digest(audio: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if audio is None:
        return None
    known: dict[str, Any] | None = audio.get(DIGEST)
    return known or digest(audio["waveform"][0], 1)


def seeds_and_models(prompt: Graph) -> dict[str, Any]:
    """The part of the manifest that tells nothing of a prompt's text."""
    return {"seeds": _literals(prompt, lambda name: "seed" in name), "models": _models(prompt)}


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """One line for each entry in which two manifests differ: `machine.device: 'cpu', now 'cuda'`."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        names = sorted(old.keys() | new.keys())
        below = (differences(old.get(name), new.get(name), f"{path}.{name}".lstrip(".")) for name in names)
        return [line for lines in below for line in lines]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return differences(dict(enumerate(old)), dict(enumerate(new)), path)
    return [] if old == new else [f"{path}: {old!r}, now {new!r}"]


def _latents(steps: Steps) -> list[Any]:
    return [step["latent"] for step in steps if "latent" in step]


def _literals(prompt: Graph, wanted: Any) -> dict[str, dict[str, Any]]:
    """Values that the user set, by the node's id and class; links are the prompt's business."""
    found = {
        f"{node_id} {entry.get('class_type', '?')}": {
            name: value
            for name, value in entry.get("inputs", {}).items()
            if wanted(name) and isinstance(value, (str, int, float, bool))
        }
        for node_id, entry in prompt.items()
    }
    return {node: values for node, values in found.items() if values}


def _models(prompt: Graph) -> dict[str, dict[str, Any]]:
    """Every model file that a prompt names, by that name."""
    values = (value for entry in prompt.values() for value in entry.get("inputs", {}).values())
    names = {value for value in values if isinstance(value, str) and value.endswith(MODEL_SUFFIXES)}
    paths = {name: _find(name) for name in sorted(names)}
    return {name: fingerprint(path) for name, path in paths.items() if path is not None}


def _find(name: str) -> Path | None:
    for role in MODEL_ROLES:
        try:
            return model_path(role, name)
        except ValueError:  # not in the folders of this role
            continue
    return None


def fingerprint(path: Path) -> dict[str, Any]:
    """Size and a digest of a model file, cached until the file changes.

    The digest is over the size and 256 evenly spaced blocks of 64 KiB, the first and the last included: a full one
    would read 46 GB for every first run.
    """
    status = path.stat()
    return {"bytes": status.st_size, "sampled_sha256": _sampled(path, status.st_size, status.st_mtime_ns)}


@lru_cache(maxsize=256)
def _sampled(path: Path, size: int, modified: int) -> str:
    digest = hashlib.sha256(str(size).encode())
    last = max(size - SAMPLE_BYTES, 0)
    with path.open("rb") as file:
        for start in sorted({last * index // (SAMPLES - 1) for index in range(SAMPLES)}):
            file.seek(start, os.SEEK_SET)
            digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return f"cuda {torch.cuda.get_device_name(device)}"
    return f"{device.type} {platform.machine()}"
