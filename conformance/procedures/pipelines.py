"""Whole recipes: the bundled workflow files, with tensors in place of loaders, texts, media and noise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from ...model_loaders.checkpoint import open_checkpoint
from ...model_loaders.parts import Part, open_audio, open_model, open_upscaler, open_video
from ...model_loaders.text_projection import Modality, load_connector
from ...nodes.generations import GENERATION
from ...nodes.host.standalone.workflow import read_workflow
from ...nodes.latents import members
from ...nodes.noise import NoiseSource
from ...nodes.rules import NamedRule
from ...samplers.denoiser import Denoise
from ...samplers.state import StreamState
from ...samplers.steps import StepCallback
from ...samplers.streams import Streams
from ..case import Case
from ..recipes import Recipe, Socket, TensorNoise
from ..registry import procedure

MODALITIES: tuple[Modality, ...] = ("video", "audio")
WORKFLOWS = Path(__file__).resolve().parents[2] / "workflows" / "api"


@procedure("pipeline.t2v_one_stage")
def one_stage(case: Case) -> dict[str, Tensor]:
    recipe = _recipe(case, "one_stage").set("Recipe", steps=case.call["steps"])
    _set_size(recipe, case)
    recipe.source("Noise", _noise(case))
    return _outputs(recipe, case, latent=("Stage", 0), images=("Decode Video", 0), audio=("Decode Audio", 0))


@procedure("pipeline.distilled_two_stage")
def distilled_two_stage(case: Case) -> dict[str, Tensor]:
    recipe = _recipe(case, "distilled_images")
    _set_size(recipe, case)
    for title, image in zip(("First Picture", "Last Picture"), case.call["images"], strict=True):
        recipe.source(title, _picture(case, image["image"]))
        for stage in (1, 2):
            settings = {"frame": image["frame_idx"], "strength": image["strength"], "crf": case.call["crf"]}
            recipe.set(f"{title}, Stage {stage}", **settings)
    recipe.source("Noise", _noise(case, "s1_")).source("Noise 2", _noise(case, "s2_"))
    return _outputs(recipe, case, latent=("Stage 2", 0), images=("Decode Video", 0), audio=("Decode Audio", 0))


@procedure("pipeline.hq_stage1")
def high_quality_stage_1(case: Case) -> dict[str, Tensor]:
    recipe = _recipe(case, "high_quality").set("Schedule", steps=case.call["steps"])
    _set_size(recipe, case, of_stage_1=True)
    recipe.source("First Picture", _picture(case, "image0_uint8")).set("First Picture, Stage 1", crf=0)
    draws = _draws(case, "sde_noise")
    recipe.source("Noise", replace(_noise(case), sde_draws=draws))
    return _outputs(recipe, case, latent=("Stage 1", 0), audio=("Decode Audio", 0))


@procedure("pipeline.ic_lora_stage1")
def ic_lora_stage_1(case: Case) -> dict[str, Tensor]:
    recipe = _recipe(case, "ic_lora").set("Control Clip", space_factor=case.call["downscale"])
    recipe.set("Control Clip", strength=case.call["reference_strength"], attention=case.call["attention"])
    _set_size(recipe, case, of_stage_1=True)
    recipe.source("Video", _clip(case, "reference_video_pm1")).source("Noise", _noise(case))
    recipe.link("Decode Audio", "latent", ("Stage 1", 0))
    return _outputs(recipe, case, latent=("Stage 1", 0), audio=("Decode Audio", 0))


@procedure("pipeline.a2v_stage1")
def audio_to_video_stage_1(case: Case) -> dict[str, Tensor]:
    recipe = _recipe(case, "audio_to_video").set("Schedule", steps=case.call["steps"])
    _set_size(recipe, case, of_stage_1=True)
    recipe.source("Sound", {"waveform": case.inputs["waveform_16k"], "sample_rate": case.call["audio_rate"]})
    recipe.source("Noise", _noise(case)).link("Decode Video", "latent", ("Stage 1", 0))
    return _outputs(recipe, case, latent=("Stage 1", 0), images=("Decode Video", 0))


@procedure("pipeline.retake")
def retake(case: Case) -> dict[str, Tensor]:
    """Both streams; and with the sound kept, as it should be and as the official code does it."""
    recipe = _retake(case, "")
    outputs = _outputs(recipe, case, latent=("Stage", 0), images=("Decode Video", 0), audio=("Decode Audio", 0))
    kept = _retake(case, "keepaudio_").set("Retake", streams="video")
    outputs["keepaudio_clean_video_latent"] = _latents(kept, case, ("Stage", 0))["video_latent"]
    defective = _retake(case, "keepaudio_").set("Retake", streams="video").source("Step Rule", _FrozenFromNoise())
    for name, tensor in _latents(defective, case, ("Stage", 0)).items():
        outputs[f"keepaudio_reference_{name}"] = tensor
    return outputs


def _retake(case: Case, prefix: str) -> Recipe:
    recipe = _recipe(case, "retake").set("Retake", start=case.call["start"], end=case.call["end"])
    recipe.source("Video", _clip(case, "source_video_pm1"), None, case.call["fps"])
    recipe.source("Source Audio", {"samples": case.inputs["source_audio_latent"]})
    return recipe.source("Noise", _noise(case, prefix))


class _FrozenFromNoise:
    """Euler's rule on a frozen stream that was noised: a defect of the official retake (spec pipelines.md 9)."""

    needs_unconditioned = False

    def run(
        self,
        denoise: Denoise,
        states: Streams[StreamState],
        sigmas: Tensor,
        noise: NoiseSource,
        callback: StepCallback | None,
    ) -> Streams[Tensor]:
        def noised(state: StreamState, drawn: Tensor) -> StreamState:
            return replace(state, latent=drawn.to(state.latent)) if state.frozen else state

        return NamedRule(name="euler").run(denoise, states.map(noised, noise.start(states)), sigmas, noise, callback)


@procedure("pipeline.dub_two_stage")
def dub(case: Case) -> dict[str, Tensor]:
    recipe = _recipe(case, "dub").source("Video", None, None, case.call["fps"])
    recipe.source("Clip Size", case.call["width"], case.call["height"], case.call["num_frames"])
    for stage in (1, 2):
        title = f"Clip, Stage {stage}"
        recipe.set(title, space_factor=case.call["downscale"]).link(title, "images", None)
        _link_to_latent(recipe, title, f"reference {stage}", case.inputs[f"reference_latent_s{stage}"])
    recipe.link("Voice", "audio", None)
    _link_to_latent(recipe, "Voice", "original voice", case.inputs["reference_audio_latent"])
    recipe.source("Noise", _noise(case, "s1_")).source("Noise 2", _noise(case, "s2_"))
    return _latents(recipe, case, ("Stage 2", 0))


def _link_to_latent(recipe: Recipe, title: str, name: str, latent: Tensor) -> None:
    """The node takes its reference as a latent, which the file has no node for."""
    recipe.add(name).source(name, {"samples": latent}).link(title, "reference", (name, 0))


@procedure("pipeline.t2a")
def text_to_audio(case: Case) -> dict[str, Tensor]:
    recipe = _recipe(case, "text_to_audio").set("Recipe", steps=case.call["steps"])
    recipe.set("Size", frames=case.call["num_frames"], frame_rate=case.call["fps"]).source("Noise", _noise(case))
    return _outputs(recipe, case, latent=("Stage", 0), audio=("Decode Audio", 0))


@procedure("pipeline.distilled_stage1_ancestral_keyframe_slots")
def distilled_keyframes_stage_1(case: Case) -> dict[str, Tensor]:
    recipe = _recipe(case, "distilled_keyframes").set("Slots", count=case.call["generated_keyframes"])
    _set_size(recipe, case, of_stage_1=True)
    recipe.source("First Picture", _picture(case, "image0_uint8")).set("First Picture, Stage 1", crf=0)
    recipe.source("Noise", replace(_noise(case), step_draws=_draws(case, "step_noise")))
    for title in ("Decode Video", "Decode Audio"):
        recipe.link(title, "latent", ("Stage 1", 0))
    wanted = {"latent": ("Stage 1", 0), "images": ("Decode Video", 0), "audio": ("Decode Audio", 0)}
    outputs = _outputs(recipe, case, **wanted, keyframes=("Stage 1", 1), stills=("Decode Keyframes", 0))
    for index, still in enumerate(outputs.pop("stills")):
        outputs[f"keyframe{index}_pixels_fhwc"] = still[None]
    return outputs


@procedure("pipeline.dfr")
def fidelity_rendering(case: Case) -> dict[str, Tensor]:
    recipe = _recipe(case, "fidelity_rendering").set("Canvas", frames=case.call["num_frames"])
    recipe.set("Size", width=case.call["width"], height=case.call["height"], frame_rate=case.call["fps"])
    recipe.set("Stage 1 as Reference", space_factor=case.call["detailing_downscale"])
    recipe.source("First Picture", _picture(case, "image0_uint8"))
    for place in ("Stage 1", "Stage 2", "Tile 0", "Tile 1"):
        recipe.set(f"First Picture, {place}", crf=case.call["image"]["crf"])
    for index, title in enumerate(("Noise", "Noise 2", "Noise 3", "Noise 4")):
        prefix = f"stage{index}_"
        recipe.source(title, replace(_noise(case, prefix), step_draws=_draws(case, f"{prefix}step_noise")))
    found = recipe.run(
        case.device.type, latent=("Trim", 0), first=("Stage 1", 0), images=("Decode Video", 0), audio=("Trim Audio", 0)
    )
    video, audio = members(found["latent"]).video, members(found["first"]).audio
    assert video is not None
    assert audio is not None
    samples = found["audio"]["waveform"].shape[-1]
    return {
        "video_latent": video,
        "audio_latent": audio,
        "num_frames": torch.tensor([len(found["images"])]),
        "waveform_samples": torch.tensor([samples]),
    }


def _recipe(case: Case, name: str) -> Recipe:
    """The bundled workflow on the case's networks and texts."""
    recipe = Recipe(prompt=read_workflow(WORKFLOWS / f"{name}.json"))
    call = case.call
    path = case.sibling(call.get("checkpoint") or call["transformer"])
    model = open_model(path, dtype=case.dtype)
    video = open_video(case.sibling(call.get("video_vae") or path.name), dtype=case.dtype)
    audio = open_audio(case.sibling(call.get("audio_vae") or path.name))
    tagged: list[Part] = [replace(part, generation=model.generation) for part in (video, audio)]
    if "VAEs" in recipe.titles():
        recipe.source("Model", model).source("VAEs", *tagged)
    else:
        recipe.source("Model", model, None, *tagged)
    for title, key in (("Upscaler", "spatial_upscaler"), ("Temporal Upscaler", "temporal_upscaler")):
        if title in recipe.titles():
            recipe.source(title, open_upscaler(case.sibling(call[key]), dtype=case.dtype))
    recipe.source("Prompt", _conditioning(case, path, "pos", model.generation))
    if "Negative Prompt" in recipe.titles():
        given = "text_mask_neg" in case.inputs
        negative = _conditioning(case, path, "neg", model.generation) if given else None
        recipe.source("Negative Prompt", negative)
    return recipe


def _conditioning(case: Case, path: Path, sign: str, generation: str | None) -> list[list[Any]]:
    """CONDITIONING from features: through the connectors. A stream without features has no context.

    The official code holds the connectors' registers in bfloat16 whatever the file says. Published files do so too; the
    tiny ones have float32, and the difference would be amplified to twice the tolerance.
    """
    file, mask = [open_checkpoint(path)], case.inputs[f"text_mask_{sign}"]
    shared = case.inputs.get(f"text_features_video_{sign}")  # generation 2 has one for both
    contexts = []
    for modality in MODALITIES:
        features = case.inputs.get(f"text_features_{modality}_{sign}", shared)
        if features is not None:
            connector = load_connector(file, modality)
            connector.learnable_registers.data = connector.learnable_registers.data.bfloat16()
            connector.to(case.device, case.dtype)
            contexts.append(connector(features.to(case.dtype), mask, length=features.shape[1]))
    return [[torch.cat(contexts, dim=-1), {GENERATION: generation}]]


def _set_size(recipe: Recipe, case: Case, *, of_stage_1: bool = False) -> None:
    """of_stage_1: the call gives the size of the first of two stages, the file holds the final one."""
    factor = 2 if of_stage_1 else 1
    sides = {side: case.call[side] * factor for side in ("width", "height")}
    recipe.set("Size", **sides, frames=case.call["num_frames"], frame_rate=case.call["fps"])


def _noise(case: Case, prefix: str = "") -> TensorNoise:
    return TensorNoise(
        video=case.inputs.get(f"{prefix}noise_video"),
        audio=case.inputs.get(f"{prefix}noise_audio"),
    )


def _draws(case: Case, name: str) -> list[Streams[Tensor]]:
    """The k-th draw of both streams; of one where the other is absent, none where the case has none."""
    video, audio = (case.inputs.get(f"{name}_{stream}") for stream in ("video", "audio"))
    count = max(0 if draws is None else len(draws) for draws in (video, audio))
    return [
        Streams(video=None if video is None else video[k], audio=None if audio is None else audio[k])
        for k in range(count)
    ]


def _picture(case: Case, name: str) -> Tensor:
    """IMAGE (1, H, W, 3) from 8-bit values."""
    return case.inputs[name][None].float() / 255.0


def _clip(case: Case, name: str) -> Tensor:
    """IMAGE (F, H, W, 3) from pixels (1, 3, F, H, W) in -1 … 1."""
    frames: Tensor = rearrange(case.inputs[name], "1 c f h w -> f h w c")
    return (frames + 1) / 2


def _latents(recipe: Recipe, case: Case, latent: Socket) -> dict[str, Tensor]:
    return _outputs(recipe, case, latent=latent)


def _outputs(recipe: Recipe, case: Case, **wanted: Socket) -> dict[str, Tensor]:
    """What the cases call `video_latent`, `audio_latent`, `pixels_fhwc`, `waveform` and so on."""
    found = recipe.run(case.device.type, **wanted)
    pair = members(found["latent"])
    outputs = {f"{stream}_latent": tensor for stream, tensor in vars(pair).items() if tensor is not None}
    if "images" in found:
        outputs["pixels_fhwc"] = found["images"]
    if "stills" in found:
        outputs["stills"] = found["stills"]
    if "keyframes" in found:
        outputs["generated_keyframes"] = found["keyframes"]["samples"]
    if "audio" in found:
        outputs["waveform"] = found["audio"]["waveform"][0]
        outputs["waveform_rate"] = torch.tensor([found["audio"]["sample_rate"]])
    return outputs
