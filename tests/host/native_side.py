"""Graphs of our nodes and ComfyUI's own on the embedded model, and what they put on their wires."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable
from typing import Any

CHECKPOINT = "openltx-tiny-2.3.safetensors"
SIGMAS = "1.0, 0.7, 0.4, 0.0"


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs, "_meta": {"title": class_type}}


class Capture:
    """An output node that keeps what comes in, in ComfyUI's older form."""

    CATEGORY, FUNCTION, OUTPUT_NODE, RETURN_TYPES = "test", "keep", True, ()
    seen: dict[str, Any] = {}  # noqa: RUF012
    given: Any = None  # of the nodes Given and GivenPrompts
    prompts: Any = None

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"value": ("*",), "name": ("STRING",)}}

    def keep(self, value: Any, name: str) -> tuple[()]:
        self.seen[name] = value
        return ()

    @classmethod
    def VALIDATE_INPUTS(cls, input_types: Any) -> bool:  # noqa: N802
        return True


class Given:
    """A LATENT that a test has made."""

    CATEGORY, FUNCTION = "test", "give"
    RETURN_TYPES: tuple[str, ...] = ("LATENT",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {}}

    @classmethod
    def IS_CHANGED(cls) -> float:  # noqa: N802
        return float("nan")

    def give(self) -> tuple[Any, ...]:
        return (Capture.given,)


class GivenPrompts(Given):
    """A positive and a negative CONDITIONING that a test has made."""

    RETURN_TYPES = ("CONDITIONING", "CONDITIONING")

    def give(self) -> tuple[Any, ...]:
        return tuple(Capture.prompts)


class Graphs:
    """Runs graphs in ComfyUI's executor, with its own nodes and ours."""

    def __init__(self, make: Callable[[list[type[Any]]], Any]) -> None:
        """make: node classes → an executor that knows them."""
        self.make, self.runs = make, 0
        nodes: Any = importlib.import_module("nodes")
        if "SamplerCustomAdvanced" not in nodes.NODE_CLASS_MAPPINGS:
            asyncio.run(nodes.init_builtin_extra_nodes())
        package = importlib.import_module("openltx_in_comfyui.nodes.host.comfyui")
        self.executor = make(package.comfyui_extension().nodes)
        nodes.NODE_CLASS_MAPPINGS |= {node.__name__: node for node in (Capture, Given, GivenPrompts)}

    def anew(self) -> Graphs:
        """With nothing in its cache."""
        return Graphs(self.make)

    def run(self, graph: dict[str, Any], *wanted: tuple[str, int], expect: str = "success") -> Any:
        """The values on wires (node id, output); one alone for one wire. Otherwise the error's text."""
        Capture.seen.clear()
        self.runs += 1  # no capture is taken from the cache
        names = [f"{self.runs}.{i}" for i in range(len(wanted))]
        shown = {
            f"c{name}": node("Capture", value=list(wire), name=name) for name, wire in zip(names, wanted, strict=True)
        }
        prompt = {**graph, **shown}
        ok, error, outputs = self.executor.validate(prompt)
        assert ok, error
        ended, text, _ = self.executor.run(prompt, outputs)
        assert ended == expect, text or ended
        if expect != "success":
            return text
        found = [Capture.seen[name] for name in names]
        return found[0] if len(found) == 1 else found


def stage(frames: int = 17, rate: float = 24.0, seed: int = 5) -> dict[str, Any]:
    """Loader, two prompts with a frame rate, an empty latent, sigmas and noise: what every sampler needs."""
    return {
        "load": node("OpenLTXLoadModel", checkpoint=CHECKPOINT, text_encoder="inside the checkpoint", dtype="float32"),
        "yes": node("OpenLTXEncodePrompt", text_encoder=["load", 1], text="a ball bounces"),
        "no": node("OpenLTXEncodePrompt", text_encoder=["load", 1], text="blurry"),
        "rate": node("LTXVConditioning", positive=["yes", 0], negative=["no", 0], frame_rate=rate),
        "empty": node("OpenLTXEmptyAVLatent", model=["load", 0], width=64, height=64, frames=frames, frame_rate=rate),
        "sigmas": node("OpenLTXNamedSchedule", schedule="manual", steps=1, values=SIGMAS),
        "noise": node("RandomNoise", noise_seed=seed),
        "euler": node("KSamplerSelect", sampler_name="euler"),
    }


def ours(cfg: float = 1.0, model: str = "load", seed: int = 5) -> dict[str, Any]:
    """Our own sampler on that."""
    links: dict[str, Any] = {"positive": ["rate", 0], "negative": ["rate", 1], "latent": ["empty", 0]}
    settings = {"noise_seed": seed, "video_cfg": cfg, "audio_cfg": cfg}
    return node("OpenLTXSample", model=[model, 0], sigmas=["sigmas", 0], **links, **settings)


def cores(cfg: float = 1.0, model: str = "load", latent: str = "empty", sampler: str = "euler") -> dict[str, Any]:
    """ComfyUI's guider and sampler on it."""
    guided = {"positive": ["rate", 0], "negative": ["rate", 1], "cfg": cfg}
    return {"guider": node("CFGGuider", model=[model, 0], **guided), "out": advanced(latent=latent, sampler=sampler)}


def advanced(guider: str = "guider", sampler: str = "euler", latent: str = "empty") -> dict[str, Any]:
    pieces: dict[str, Any] = {"noise": ["noise", 0], "guider": [guider, 0], "sampler": [sampler, 0]}
    return node("SamplerCustomAdvanced", sigmas=["sigmas", 0], latent_image=[latent, 0], **pieces)
