"""Damaged workflows, tokenizers, settings, manifests, model configurations and kept steps: each is one clean line.

As test_fuzz_headers.py. What is not refused is run: nothing may be written outside the output folder.
"""

from __future__ import annotations

import json
import random
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

SHARE = 100  # of each kind, in CI; `openltx bench soak --part inputs` takes more
LINES = 25  # of a refusal: a workflow has a line for each problem
ROOM = 1 << 30
ROOT = Path(__file__).resolve().parents[1]
TINY = ROOT / "assets" / "openltx-tiny-2.3.safetensors"
MANY = 10_000  # nodes


def small_workflow() -> dict[str, Any]:
    """Runs in no time, with names of files, numbers and choices in it."""

    def node(class_type: str, title: str, **inputs: Any) -> dict[str, Any]:
        return {"class_type": class_type, "inputs": inputs, "_meta": {"title": title}}

    return {
        "1": node("LoadImage", "Picture", image="ball_first.png"),
        "2": node("ImageScaleBy", "Size", image=["1", 0], upscale_method="area", scale_by=0.25),
        "3": node("SaveImage", "Save", images=["2", 0], filename_prefix="folder/name"),
        "4": node("OpenLTXSaveFrames", "Frames", images=["2", 0], filename_prefix="frames", kind="png"),
    }


def grown(rng: random.Random, workflow: dict[str, Any]) -> dict[str, Any]:
    """Cycles, chains, thousands of nodes."""
    kind = rng.randrange(4)
    scale = {"upscale_method": "area", "scale_by": 1.0}
    if kind == 0:
        workflow["2"]["inputs"]["image"] = [rng.choice(["2", "3", "4"]), 0]
        return workflow
    for index in range(MANY if kind < 3 else 50):
        source = str(99 + index) if index and kind != 1 else "1"
        workflow[str(100 + index)] = {"class_type": "ImageScaleBy", "inputs": {"image": [source, 0], **scale}}
    if kind == 2:
        workflow["100"]["inputs"]["image"] = [str(99 + MANY), 0]  # a cycle of all of them
        workflow["3"]["inputs"]["images"] = ["100", 0]
    if kind == 1:
        for index in range(MANY):
            workflow[str(100 + index)]["class_type"] = "Nobody knows"
    return workflow


Taker = Callable[[random.Random], object]


def workflows(folder: Path) -> Taker:
    from openltx.api import load_workflow, prepared
    from openltx.benchmarks.odd_json import odd_text
    from openltx.nodes.core import CORE_NODES
    from openltx.nodes.host.standalone import executor
    from openltx.nodes.host.standalone.errors import NodeError
    from openltx.nodes.host.standalone.runtime import Observer
    from openltx.nodes.host.standalone.schema import registry_of
    from openltx.nodes.host.standalone.settings import Settings, model_folders_below
    from openltx.nodes.host.standalone.validate import validate
    from openltx.nodes.memory import is_out_of_memory
    from openltx.nodes.registry import NODES

    registry = registry_of([*NODES, *CORE_NODES])
    path, bundled = folder / "workflow.json", sorted((ROOT / "workflows" / "api").glob("*.json"))
    for name in ("output", "input", "models"):
        (folder / name).mkdir()
    places: dict[str, Any] = {f"{name}_folder": folder / name for name in ("output", "input", "temp")}
    settings = Settings(**places, model_folders=model_folders_below(folder / "models"), device="cpu", metadata=False)

    class Silent(Observer):
        def warning(self, text: str) -> None:
            assert len(text) < 2000, f"a long warning: {text[:200]}"

    def take(rng: random.Random) -> None:
        small = rng.random() < 0.7
        whole = small_workflow() if small else json.loads(rng.choice(bundled).read_text(encoding="utf-8"))
        path.write_bytes(json.dumps(grown(rng, whole)).encode() if rng.random() < 0.05 else odd_text(rng, whole))
        prompt = prepared(load_workflow(path), registry, {}, {}, None)
        if not small:
            validate(prompt, registry).raise_problems()
            return
        try:
            executor.run(prompt, registry, settings=settings, observer=Silent())
        except NodeError as error:
            if error.__cause__ is None or not is_out_of_memory(error.__cause__):
                raise
            raise ValueError(str(error).splitlines()[0]) from error

    return take


def tokenizers(folder: Path) -> Taker:
    from openltx.benchmarks.odd_json import odd_text
    from openltx.model_loaders.tokenizer import add_bos_setting, tokenizer_from_json

    vocabulary = {"<pad>": 0, "<eos>": 1, "<bos>": 2, "a": 3, "b": 4, "ab": 5, "▁": 6, "<0x41>": 7}
    model = {"type": "BPE", "vocab": vocabulary, "merges": [["a", "b"]], "byte_fallback": True, "unk_token": "<pad>"}
    added = [{"id": 2, "content": "<bos>", "special": True, "single_word": False, "lstrip": False, "rstrip": False}]
    whole = {"version": "1.0", "added_tokens": [{**added[0], "normalized": False}], "model": model}
    whole |= {"truncation": {"direction": "Right", "max_length": 64, "strategy": "LongestFirst", "stride": 0}}

    def take(rng: random.Random) -> None:
        text = odd_text(rng, whole).decode("utf-8", errors="replace")
        made = tokenizer_from_json(text, own_length=True)
        made("a b ab " * 100)
        made.decode([3, 4, 5])
        if rng.random() < 0.3:
            add_bos_setting(odd_text(rng, {"add_bos_token": True}).decode("utf-8", errors="replace"), origin="a.json")

    return take


def configurations(folder: Path) -> Taker:
    """What a checkpoint says of its networks, over the embedded model's own table of tensors."""
    from openltx.benchmarks.odd_json import odd_text
    from openltx.model_loaders.parts import open_parts

    with TINY.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        table = json.loads(file.read(length))
    config, size = json.loads(table["__metadata__"]["config"]), TINY.stat().st_size - 8 - length
    path = folder / "model.safetensors"

    def take(rng: random.Random) -> None:
        import torch

        table["__metadata__"]["config"] = odd_text(rng, config).decode("utf-8", errors="replace")
        raw = json.dumps(table).encode()
        with path.open("wb") as file:
            file.write(struct.pack("<Q", len(raw)) + raw)
            file.truncate(8 + len(raw) + size)  # zeros that take no room
        open_parts(path, dtype=torch.float32)

    return take


def trainings(folder: Path) -> Taker:
    """Settings of a LoRA training, as a table and as text."""
    from openltx.benchmarks.odd_json import odd
    from openltx.training.lora.config import config_of, read_config

    text = '[model]\ncheckpoint = "a.safetensors"\n[data]\nfolder = "b"\nwidth = 64\nheight = 64\nframes = 9\n'
    whole: dict[str, Any] = {
        "output": "out",
        "model": {"checkpoint": str(TINY)},
        "data": {"folder": "clips", "width": 64, "height": 64, "frames": 9},
        "lora": {"rank": 2, "targets": ["a"], "alpha": 1.0},
        "training": {"steps": 4, "learning_rate": 0.1, "precision": "float32"},
    }
    path = folder / "training.toml"

    def take(rng: random.Random) -> None:
        if rng.random() < 0.5:
            config_of(odd(rng, whole), name="a.toml", folder=folder)
            return
        data = bytearray(text.encode())
        for _ in range(rng.randrange(1, 6)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(bytes(data[: rng.randrange(1, len(data) + 1)]))
        read_config(path)

    return take


def manifests(folder: Path) -> Taker:
    """What a saved picture says of its making."""
    from PIL import Image, PngImagePlugin

    from openltx.adopt import read_file
    from openltx.benchmarks.odd_json import odd_text
    from openltx.nodes.manifest import differences
    from openltx.reproduce import _json, _making, _tags

    made = {"format": 1, "versions": {"openltx": "1"}, "steps": [{"step": "sample"}], "result": {"latents": []}}
    path = folder / "picture.png"

    def take(rng: random.Random) -> None:
        texts, info = {"openltx": made, "prompt": small_workflow()}, PngImagePlugin.PngInfo()
        for name, whole in texts.items():
            info.add_text(name, odd_text(rng, whole).decode("latin-1"))
        Image.new("RGB", (4, 4)).save(path, pnginfo=info)
        tags = _tags(path)
        found = _making(_json(path, tags["openltx"]))
        assert all(len(line) < 100_000 for line in differences(made, found))
        read_file(path)

    return take


def states(folder: Path) -> Taker:
    """Kept steps of a stage: whatever they are, the stage goes on or begins anew."""
    import torch

    from openltx.benchmarks.odd_json import odd_text
    from openltx.nodes import kept_steps
    from openltx.nodes.host.standalone.settings import Settings, use
    from openltx.nodes.host.state_folder import STEP, StateFolder
    from openltx.samplers.denoiser import Denoised, GuidanceMemory
    from openltx.samplers.replay import StepRecord
    from openltx.samplers.state import audio_state, video_state
    from openltx.samplers.streams import Streams

    begun = Streams(video=video_state(torch.ones(1, 4, 2, 2, 2), 24.0), audio=audio_state(torch.ones(1, 8, 3, 4)))
    latents = begun.map(lambda state: state.latent)
    made = Denoised(x0=latents)
    record = StepRecord(
        index=1,
        before=latents,
        evaluations=(made,),
        after=latents,
        memory=latents.map(lambda x: GuidanceMemory(guided=x)),
    )
    told: list[str] = []
    kept_steps.__dict__["warn_user"] = told.append

    def kept() -> Any:
        with use(Settings(state=StateFolder(folder), device="cpu")):
            return kept_steps.KeptSteps(lambda: {"a": 1}, begun, 4, after=0)

    first = kept()
    first.keep(record)
    path = first._files.found(first._key, STEP)
    whole = path.read_bytes()
    (length,) = struct.unpack("<Q", whole[:8])
    table, data = json.loads(whole[8 : 8 + length]), whole[8 + length :]

    def take(rng: random.Random) -> None:
        if rng.random() < 0.3:
            changed = bytearray(whole)
            for _ in range(rng.randrange(1, 9)):
                changed[rng.randrange(len(changed))] = rng.randrange(256)
            path.write_bytes(bytes(changed[: rng.randrange(len(changed)) if rng.random() < 0.2 else None]))
        else:
            notes = odd_text(rng, json.loads(table["__metadata__"]["openltx_state"])).decode("latin-1")
            raw = json.dumps({**table, "__metadata__": {"openltx_state": notes}}).encode()
            path.write_bytes(struct.pack("<Q", len(raw)) + raw + data)
        told.clear()
        found = kept().last()
        if found is None:
            (line,) = told
            raise ValueError(line)

    return take


KINDS: tuple[Callable[[Path], Taker], ...] = (*(workflows, tokenizers, configurations, trainings, manifests, states),)


def run(folder: str, count: int = SHARE, only: str = "") -> dict[str, float]:
    """`count` damaged inputs of each kind, in this process."""
    import warnings

    import torch

    from openltx.benchmarks.hunt import Case, hunt

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    takers = {}
    for kind in KINDS:
        if only in kind.__name__:
            (Path(folder) / kind.__name__).mkdir()
            takers[kind.__name__] = kind(Path(folder) / kind.__name__)

    def cases() -> Iterator[Case]:
        for name, take in takers.items():
            for seed in range(count):
                yield Case(name=f"{name}, seed {seed}", take=partial(take, random.Random(f"{name} {seed}")))

    return hunt(cases(), Path(folder), lines=LINES, room=ROOM)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="NOT TESTED: fuzzing needs Linux for its limits")
def test_every_damaged_input_is_one_clean_line(tmp_path: Path) -> None:
    command = [sys.executable, __file__, str(tmp_path), str(SHARE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    counts = json.loads(done.stdout.splitlines()[-1])
    assert counts["refused"] + counts["opened"] == SHARE * len(KINDS)
    assert counts["refused"] > SHARE * len(KINDS) // 3, counts
    assert counts["opened"] > SHARE * len(KINDS) // 20, counts


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])))
