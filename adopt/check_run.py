"""Runs the two workflows of a check in a ComfyUI checkout and measures how far their latents lie apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from ..remote.checkout import server_of
from ..remote.job import Watch, execute
from ..remote.server import Server
from .check import Check, difference
from .check_pack import PACK, for_small_latents
from .rewrite import Prompt

STREAMS = ("video", "audio")
TENSOR = "latent_tensor"  # in ComfyUI's latent files


def measured(check: Check, checkout: Path) -> dict[str, float | str]:
    """By stage the largest difference, or why there is none. Raises ValueError for a folder that is no checkout."""
    watch = Watch(say=lambda text: None, part=lambda *_: None, stop=lambda: False)
    with TemporaryDirectory() as folder:
        options: dict[str, Any] = {"models": [], "device": "cpu", "metadata": False, "packs": {"check": PACK}}
        with server_of(checkout, Path(folder) / "place", stop=watch.stop, **options) as server:
            sides = {"old": for_small_latents(check.old), "new": check.new.prompt}
            found = {}
            for side, prompt in sides.items():
                places = [getattr(pair, side) for pair in check.pairs]
                found[side] = _latents(server, _saving(prompt, places, check.nested), Path(folder), watch)
    if isinstance(found["old"], str) or isinstance(found["new"], str):
        reason = next(
            f"the {side} workflow does not run: {text}" for side, text in found.items() if isinstance(text, str)
        )
        return {pair.name: reason for pair in check.pairs}
    old, new = found["old"], found["new"]
    return {pair.name: difference(_of(old, index), _of(new, index)) for index, pair in enumerate(check.pairs)}


def _saving(prompt: Prompt, places: Sequence[tuple[str, int]], nested: bool) -> Prompt:
    """The workflow with its latents saved, and nothing else."""
    found = {
        node_id: entry
        for node_id, entry in prompt.items()
        if not entry["class_type"].startswith(("Save", "OpenLTXSave"))
    }
    for index, place in enumerate(places):
        links = {STREAMS[0]: list(place)}
        if nested:
            split = f"{index}split"
            inputs: dict[str, Any] = {"av_latent": list(place)}
            found[split] = {"class_type": "LTXVSeparateAVLatent", "inputs": inputs, "_meta": {"title": split}}
            links = {name: [split, slot] for slot, name in enumerate(STREAMS)}
        for name, link in links.items():
            inputs = {"samples": link, "filename_prefix": f"{index}{name}"}
            found[f"{index}{name}"] = {"class_type": "SaveLatent", "inputs": inputs, "_meta": {"title": "Latent"}}
    return found


def _latents(server: Server, prompt: Prompt, folder: Path, watch: Watch) -> dict[str, Tensor] | str:
    """Saved latents by their names, or the error's line."""
    with TemporaryDirectory(dir=folder) as place:
        try:
            files = execute(server, prompt, {}, {}, Path(place), watch)
        except (RuntimeError, ValueError) as error:
            return str(error).splitlines()[0]
        return {file.name.partition("_")[0]: load_file(file)[TENSOR] for file in files}


def _of(found: Mapping[str, Tensor], index: int) -> list[Tensor]:
    return [found[name] for name in (f"{index}{stream}" for stream in STREAMS) if name in found]
