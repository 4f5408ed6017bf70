"""`openltx doctor`: what is installed, what lies in the models folders, and what is missing from where."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..model_loaders.doctor import Diagnosis, FoundFile, Generation

HELP = "show what is installed, which models are complete, and what is missing from where"
NEEDED = ("torch", "numpy", "einops", "safetensors", "huggingface_hub", "pillow", "av", "tokenizers", "tqdm")
EXTRAS = {
    "sentencepiece": "tokenizers inside Gemma 3 files",
    "OpenEXR": "EXR images",
    "c2pa-python": "content credentials",
    "comfy-kitchen": "fast products of int8, nvfp4 and mxfp8 weights on NVIDIA GPUs",
    "hf_xet": "faster downloads",
}


def add(command: argparse.ArgumentParser) -> None:
    command.add_argument("--models", action="append", default=[], metavar="DIR", help="folder with checkpoints/ …")
    command.add_argument("--json", action="store_true")


def run(arguments: argparse.Namespace) -> int:
    from ..model_loaders.doctor import diagnose
    from ..nodes.host.files import model_names, role_folders

    roots = [Path(root) for root in arguments.models] or [Path("models")]
    folders = role_folders(roots)
    listed = {
        role: [folder / name for folder in paths for name in model_names(folder)] for role, paths in folders.items()
    }
    diagnosis, installed = diagnose(folders, listed), installation()
    if arguments.json:
        print(json.dumps({"installed": installed, **diagnosis.as_json()}))
    else:
        print("\n".join([*_installed_lines(installed), *_lines(diagnosis)]))
    return 0


def installation() -> dict[str, Any]:
    """Versions of what is needed and of what is optional (None: absent), and the devices."""
    import torch

    from ..media.hardware import working
    from ..package_version import version

    devices = [f"cpu, {torch.get_num_threads()} threads"]
    for index in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(index)
        devices.append(f"cuda:{index} {about.name}, {about.total_memory / 2**30:.0f} GiB")
    if torch.backends.mps.is_available():
        devices.append("mps")
    return {
        "openltx": version(),
        "python": platform.python_version(),
        "executable": sys.executable,
        "system": platform.platform(),
        "packages": {name: _version(name) for name in NEEDED},
        "extras": {name: _version(name) for name in EXTRAS},
        "devices": devices,
        "video encoders on chips": working(),
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _installed_lines(installed: dict[str, Any]) -> list[str]:
    packages = ", ".join(f"{name} {found or 'MISSING'}" for name, found in installed["packages"].items())
    lines = [f"openltx {installed['openltx']}, Python {installed['python']}, {installed['system']}", f"  {packages}"]
    for name, found in installed["extras"].items():
        lines.append(f"  {name} {found or 'not installed'} ({EXTRAS[name]})")
    chips = ", ".join(installed["video encoders on chips"]) or "none"
    return [*lines, f"  devices: {'; '.join(installed['devices'])}", f"  video encoders on chips: {chips}"]


def _lines(diagnosis: Diagnosis) -> list[str]:
    roots = sorted({str(Path(path).parent) for places in diagnosis.folders.values() for path, _ in places})
    present = sum(exists for places in diagnosis.folders.values() for _, exists in places)
    lines = [f"models below {', '.join(roots)}: {present} folders, {len(diagnosis.files)} files"]
    lines += [_file_line(file) for file in diagnosis.files]
    for state in diagnosis.generations:
        lines += _generation_lines(state)
    return lines


def _file_line(file: FoundFile) -> str:
    facts = f"{file.kind}, {file.generation}, {file.weight_format}" if file.weight_format else file.kind
    return f"  {file.path}: {facts}" + (f" -- {file.problem}" if file.problem else "")


def _generation_lines(state: Generation) -> list[str]:
    if not state.missing:
        extra = "" if "upscaler" in state.found else "; no upscaler, which two-stage recipes need"
        return [f"LTX-{state.generation}: complete{extra}"]
    lines = [f"LTX-{state.generation}: incomplete; all of it: openltx download {state.download}"]
    for missing in state.missing:
        size = "" if missing.bytes is None else f" ({missing.bytes / 1e9:.2f} GB)"
        gated = ", whose terms must be accepted on its page" if missing.gated else ""
        lines.append(f"  missing: {', '.join(missing.parts)}")
        lines.append(f"    {missing.repository}: {missing.file}{size} into {missing.folder}{gated}")
    return lines
