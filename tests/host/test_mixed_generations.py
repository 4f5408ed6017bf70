"""Every node that first sees two parts refuses those of different generations, in one line, before it reads any."""

from __future__ import annotations

import importlib
from itertools import permutations
from typing import Any

import pytest

Prompt = dict[str, Any]

OUTPUTS = (
    *("model", "text", "video_vae", "audio_vae", "upscaler", "conditioning", "images", "sound"),
    *("video", "audio", "both", "keyframes"),
)
GENERATIONS = ("2", "2.3", "2.5")
END = "found LTX-{theirs}; use parts of one generation"

# node: ({input: (whose, output)}, message up to END)
CASES: dict[str, tuple[dict[str, tuple[str, str]], str]] = {
    "Guider positive": (
        {"model": ("ours", "model"), "positive": ("theirs", "conditioning")},
        "positive: expected LTX-{ours} like model-{ours}.safetensors, ",
    ),
    "Guider negative": (
        {"model": ("ours", "model"), "positive": ("ours", "conditioning"), "negative": ("theirs", "conditioning")},
        "negative: expected LTX-{ours} like model-{ours}.safetensors, ",
    ),
    "PresetGuider": (
        {"model": ("ours", "model"), "positive": ("theirs", "conditioning")},
        "positive: expected LTX-{ours} like model-{ours}.safetensors, ",
    ),
    "Sample latent": (
        {
            "model": ("ours", "model"),
            "positive": ("ours", "conditioning"),
            "latent": ("theirs", "both"),
            "sigmas": ("sigmas", ""),
        },
        "latent: expected LTX-{ours} like model-{ours}.safetensors, ",
    ),
    "DecodeVideo": (
        {"video_vae": ("ours", "video_vae"), "latent": ("theirs", "both")},
        "latent: expected LTX-{ours} like video-{ours}.safetensors, ",
    ),
    "DecodeKeyframes": (
        {"video_vae": ("ours", "video_vae"), "keyframes": ("theirs", "keyframes")},
        "keyframes: expected LTX-{ours} like video-{ours}.safetensors, ",
    ),
    "DecodeAudio": (
        {"audio_vae": ("ours", "audio_vae"), "latent": ("theirs", "both")},
        "latent: expected LTX-{ours} like audio-{ours}.safetensors, ",
    ),
    "EncodeAudio": (
        {"audio_vae": ("ours", "audio_vae"), "audio": ("ours", "sound"), "video": ("theirs", "video")},
        "video: expected LTX-{ours} like audio-{ours}.safetensors, ",
    ),
    "UpscaleLatent upscaler": (
        {"upscaler": ("theirs", "upscaler"), "video_vae": ("ours", "video_vae"), "latent": ("ours", "both")},
        "upscaler: expected LTX-{ours} like video-{ours}.safetensors, ",
    ),
    "UpscaleLatent latent": (
        {"upscaler": ("ours", "upscaler"), "video_vae": ("ours", "video_vae"), "latent": ("theirs", "both")},
        "latent: expected LTX-{ours} like video-{ours}.safetensors, ",
    ),
    "JoinAV": (
        {"video": ("ours", "video"), "audio": ("theirs", "audio")},
        "audio: expected LTX-{ours} like the latent, ",
    ),
    "ConditionImage": (
        {"latent": ("theirs", "both"), "video_vae": ("ours", "video_vae"), "image": ("ours", "images")},
        "latent: expected LTX-{ours} like video-{ours}.safetensors, ",
    ),
    "ConditionReference clip": (
        {"latent": ("theirs", "both"), "video_vae": ("ours", "video_vae"), "images": ("ours", "images")},
        "latent: expected LTX-{ours} like video-{ours}.safetensors, ",
    ),
    "ConditionReference latent": (
        {"latent": ("ours", "both"), "reference": ("theirs", "video")},
        "reference: expected LTX-{ours} like the latent, ",
    ),
    "ConditionSlots": (
        {"latent": ("ours", "both"), "seeds": ("theirs", "keyframes")},
        "seeds: expected LTX-{ours} like the latent, ",
    ),
    "GivenAudio": (
        {"latent": ("theirs", "both"), "audio_vae": ("ours", "audio_vae"), "audio": ("ours", "sound")},
        "latent: expected LTX-{ours} like audio-{ours}.safetensors, ",
    ),
    "GivenVideo": (
        {"latent": ("theirs", "both"), "video_vae": ("ours", "video_vae"), "images": ("ours", "images")},
        "latent: expected LTX-{ours} like video-{ours}.safetensors, ",
    ),
    "ReferenceVoice sound": (
        {"latent": ("theirs", "both"), "audio_vae": ("ours", "audio_vae"), "audio": ("ours", "sound")},
        "latent: expected LTX-{ours} like audio-{ours}.safetensors, ",
    ),
    "ReferenceVoice latent": (
        {"latent": ("ours", "both"), "reference": ("theirs", "audio")},
        "reference: expected LTX-{ours} like the latent, ",
    ),
    "RenderTile": (
        {"latent": ("ours", "video"), "keyframes": ("theirs", "keyframes")},
        "keyframes: expected LTX-{ours} like the latent, ",
    ),
}


PAIRS = list(permutations(GENERATIONS, 2))
STAGE = {"noise": ("noise", ""), "guider": ("guider", ""), "sampler": ("sampler", ""), "sigmas": ("sigmas", "")}
CASES["SampleStage"] = (
    {**STAGE, "latent": ("theirs", "both")},
    "latent: expected LTX-{ours} like model-{ours}.safetensors, ",
)
CASES["StepPreview video"] = (
    {"guider": ("guider", ""), "video_vae": ("theirs", "video_vae")},
    "video_vae: expected LTX-{ours} like model-{ours}.safetensors, ",
)
CASES["StepPreview audio"] = (
    {"guider": ("guider", ""), "audio_vae": ("theirs", "audio_vae")},
    "audio_vae: expected LTX-{ours} like model-{ours}.safetensors, ",
)
CASES["NegativePrompt"] = (
    {"guider": ("guider", ""), "negative": ("theirs", "conditioning")},
    "negative: expected LTX-{ours} like model-{ours}.safetensors, ",
)
CASES |= {
    f"SampleLooping {name}": (
        {**STAGE, "latent": ("ours", "video"), name: ("theirs", "video")},
        f"{name}: expected LTX-{{ours}} like the latent, ",
    )
    for name in ("guides", "context", "reference")
}
CASES["SampleLong"] = (
    {**STAGE, "latent": ("ours", "both"), "beginning": ("theirs", "both")},
    "beginning: expected LTX-{ours} like the latent, ",
)


def ran(host: Any, case: str, ours: str, theirs: str) -> Any:
    """The outcome of the case's node between parts of two generations."""
    inputs, _ = CASES[case]
    kind = f"OpenLTX{case.split()[0]}"
    prompt = {
        "ours": {"class_type": "ToyParts", "inputs": {"generation": ours}},
        "theirs": {"class_type": "ToyParts", "inputs": {"generation": theirs}},
        "noise": entry(host, "OpenLTXNoise"),
        "sampler": entry(host, "OpenLTXSampler"),
        "sigmas": entry(host, "OpenLTXDistilledSchedule"),
        "guider": entry(host, "OpenLTXPresetGuider", model=["ours", 0], positive=["ours", 5], preset="none"),
        "tested": entry(host, kind, **{name: link(*source) for name, source in inputs.items()}),
        "show": {"class_type": "ToyShow", "inputs": {"value": ["tested", 0]}},
    }
    return host.run(prompt)


def link(whose: str, output: str) -> list[Any]:
    return [whose, OUTPUTS.index(output) if output else 0]


def entry(host: Any, kind: str, **links: Any) -> dict[str, Any]:
    """A node of a prompt, its other inputs at their defaults."""
    nodes = importlib.import_module(f"{host.package}.nodes.registry").NODES
    schema = next(node.define_schema() for node in nodes if node.define_schema().node_id == kind)
    defaults = {given.id: given.default for given in schema.inputs if getattr(given, "default", None) is not None}
    return {"class_type": kind, "inputs": {**defaults, **links}}


@pytest.mark.parametrize("case", CASES)
def test_parts_of_two_generations_are_refused(parts_host: Any, case: str) -> None:
    for ours, theirs in PAIRS:
        outcome = ran(parts_host, case, ours, theirs)
        assert outcome.ended == "failed", (ours, theirs, outcome)
        assert outcome.error.strip().endswith((CASES[case][1] + END).format(ours=ours, theirs=theirs))


@pytest.mark.parametrize("case", CASES)
def test_parts_of_one_generation_are_not(parts_host: Any, case: str) -> None:
    """Whatever else goes wrong with networks that cannot be read."""
    for generation in GENERATIONS:
        for other in (generation, "2 or 2.3" if generation == "2" else "2.3 or 2.5"):
            outcome = ran(parts_host, case, generation, other)
            assert outcome.ended != "refused", outcome
            assert "one generation" not in outcome.error
