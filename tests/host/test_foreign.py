"""The table of other people's nodes in web/docs/interop.md: every row is true, or is tested by name elsewhere."""

from __future__ import annotations

import inspect
import logging
from pathlib import Path
from typing import Any

import pytest
import torch

HERE = Path(__file__).resolve().parent
TABLE = HERE.parents[1] / "web" / "docs" / "interop.md"
WHOLE: dict[str, Any] = {"start_percent": 0.0, "end_percent": 1.0}
LAYERS = {"double_layers": "0", "single_layers": "", **WHOLE}
WINDOW = {"context_length": 9, "context_overlap": 0}
OPTIONS: dict[str, dict[str, Any]] = {
    "EasyCache": {"reuse_threshold": 3.0, **WHOLE},
    "LazyCache": {"reuse_threshold": 3.0, **WHOLE},
    "SkipLayerGuidanceDiT": LAYERS,
    "SkipLayerGuidanceDiTSimple": LAYERS,
    "SkipLayerGuidanceSD3": {"layers": "1", **WHOLE},
    "LTXVContextWindows": WINDOW,
    "ContextWindowsManual": {"context_length": 2, "context_overlap": 1, "dim": 2},
    "Epsilon Scaling": {"scaling_factor": 1.2},
    "ScaleROPE": {"scale_t": 2.0, "scale_x": 1.5},
}
NEWER = {"RescaleCFG": "is_flow", "ContextWindowsManual": "modality_windows"}
"""Nodes of verdict "newer hosts", and a word in ComfyUI's sources where they can handle such models."""
LATER = {
    "LTXVContextWindows",
    "LTXVDualCFGGuider",
    "LTXVModalityGuidance",
    "LTXVSpatioTemporalGuidance",
}  # nodes that older hosts lack
NEUTRAL = {"ModelSamplingLTXV", "ModelSamplingFlux", "DifferentialDiffusion"}  # on given sigmas, without a mask


def table() -> dict[str, str]:
    """{node: verdict}; the table of kinds is test_patch_kinds.py's."""
    rows: dict[str, str] = {}
    for section in TABLE.read_text(encoding="utf-8").split("\n## "):
        if not section.startswith("Patches by kind"):
            lines = [line.split("|") for line in section.splitlines() if line.startswith("| ")]
            rows |= {cells[1].strip(): cells[2].strip() for cells in lines if cells[1].strip() != "node"}
    return rows


SOURCES = "".join(path.read_text(encoding="utf-8") for path in sorted(HERE.glob("test_*.py")))
NAMED = {
    "BasicGuider": "test_basic_guider",
    "CFGGuider": "test_samplers_of_comfyui_agree_with_ours",
    "CLIPTextEncode": "test_text",
    "CLIPLoader": "test_text_of_their_encoder",
    "ControlNetApply": "test_conditioning_that_cannot_take_part_is_refused_by_name",
    "EasyCache": "test_patches_of_others_act",
    "KSampler": "test_ksampler",
    "KSamplerSelect": "test_their_rule_under_our_guider",
    "LTXAVTextEncoderLoader": "test_text_features_without_connectors",
    "LTXVAudioVAELoader": "test_their_vaes_are_refused_by_name",
    "LTXVAddGuide": "test_guide_frames_mean_the_same_in_both_samplers",
    "LTXVAudioVAEDecode": "test_sound",
    "LTXVAudioVAEEncode": "test_sound",
    "LTXVConcatAVLatent": "test_join_and_split_of_both_are_the_same",
    "LTXVConditioning": "test_rates_that_contradict_each_other_are_refused",
    "LTXVCropGuides": "test_guide_frames_mean_the_same_in_both_samplers",
    "LTXVEmptyLatentAudio": "test_sound",
    "LTXVImgToVideoInplace": "test_picture_as_first_frame",
    "LTXVLatentUpsampler": "test_upsampler",
    "LTXVDualCFGGuider": "test_guidance_of_newer_hosts_is_ours",
    "LTXVModalityGuidance": "test_guidance_of_newer_hosts_is_ours",
    "LTXVSpatioTemporalGuidance": "test_guidance_of_newer_hosts_is_ours",
    "LTXVReferenceAudio": "test_reference_audio_with_its_own_pass",
    "LTXVSeparateAVLatent": "test_join_and_split_of_both_are_the_same",
    "LatentUpscaleModelLoader": "test_parts_of_others_are_named",
    "LoraLoaderModelOnly": "test_both_loaders_of_a_lora_agree",
    "ModelMergeSimple": "test_merge_and_save",
    "ModelSave": "test_merge_and_save",
    "RandomNoise": "test_noise_of_both_means_the_same",
    "SamplerCustomAdvanced": "test_samplers_of_comfyui_agree_with_ours",
    "SetLatentNoiseMask": "test_masks_keep_what_they_cover",
    "SkipLayerGuidanceDiT": "test_patches_of_others_act",
    "TextGenerateLTX2Prompt": "test_writing_with_our_encoder_is_refused_by_name",
    "TorchCompileModel": "test_blocks_are_compiled_once",
    "UNETLoader": "test_our_stage_is_their_sampler",
    "VAEDecode": "test_decode",
    "VAEDecodeTiled": "test_decode_in_tiles",
    "VAELoader": "test_their_vaes_are_refused_by_name",
    "VAEEncode": "test_encode",
    "VAEEncodeTiled": "test_encode",
}
"""Rows with a test of their own; all others are patches of a MODEL and run below."""

ROWS = {node: verdict for node, verdict in table().items() if node not in NAMED}


def test_every_row_has_a_test(graphs: Any) -> None:
    import nodes  # type: ignore[import-not-found]  # ComfyUI's

    assert not {node for node in table() if node not in nodes.NODE_CLASS_MAPPINGS} - LATER
    assert len(table()) > 50
    assert not set(NAMED) - set(table())
    assert not [name for name in NAMED.values() if f"def {name}(" not in SOURCES]
    assert set(table().values()) == {"works", "no effect", "refused", "fails", "newer hosts"}


def with_patch(side: Any, name: str, cfg: float = 3.0) -> dict[str, Any]:
    """Their sampler on a model with a node of theirs on it, at the node's defaults."""
    import nodes

    kind = nodes.NODE_CLASS_MAPPINGS[name]
    info = kind.GET_NODE_INFO_V1()["input"] if hasattr(kind, "GET_SCHEMA") else kind.INPUT_TYPES()
    values: dict[str, Any] = {}
    for option, (of, *more) in ((option, tuple(given)) for option, given in info.get("required", {}).items()):
        choices = of if isinstance(of, list) else (more[0] if more else {}).get("options")
        values[option] = (more[0] if more else {}).get("default", choices[0] if choices else None)
    values |= {"model": ["load", 0], **OPTIONS.get(name, {})}
    return {**side.stage(), "patch": side.node(name, **values), **side.cores(cfg, model="patch")}


def _sources(node: type[Any]) -> str:
    import comfy.context_windows

    return inspect.getsource(node) + inspect.getsource(comfy.context_windows)


@pytest.mark.parametrize("name", sorted(ROWS))
def test_patch(graphs: Any, side: Any, name: str, caplog: pytest.LogCaptureFixture) -> None:
    import nodes

    verdict = ROWS[name]
    if name in LATER and name not in nodes.NODE_CLASS_MAPPINGS:
        pytest.skip(f"this ComfyUI has no node {name}")
    if verdict == "newer hosts":
        verdict = "works" if NEWER[name] in _sources(nodes.NODE_CLASS_MAPPINGS[name]) else "fails"
    if verdict in ("fails", "refused"):
        text = graphs.run(with_patch(side, name), ("out", 0), expect="failed")
        assert verdict == "fails" or "expected" in text
        return
    plain = graphs.run({**side.stage(), **side.cores(3.0)}, ("out", 0))["samples"].unbind()
    fresh = graphs.anew() if verdict == "no effect" else graphs  # it is told once a model
    with caplog.at_level(logging.WARNING):
        found = fresh.run(with_patch(side, name), ("out", 0))["samples"].unbind()
    assert all(bool(member.isfinite().all()) for member in found)
    changed = max(float((one - other).abs().max()) for one, other in zip(found, plain, strict=True)) > 1e-3
    assert changed == (verdict == "works" and name not in NEUTRAL)
    assert ("have no effect on LTX-2 networks" in caplog.text) == (verdict == "no effect")


def test_merge_and_save(graphs: Any, side: Any) -> None:
    """Half of a model and half of itself is itself; what is saved opens again with the same weights."""
    graph = side.stage()
    links: dict[str, Any] = {"model1": ["load", 0], "model2": ["load", 0]}
    graph["merged"] = side.node("ModelMergeSimple", ratio=0.5, **links)
    graph["save"] = side.node("ModelSave", model=["merged", 0], filename_prefix="saved/model")
    merged, plain = graphs.run({**graph, "a": side.ours(model="merged"), "b": side.ours()}, ("a", 0), ("b", 0))
    for one, other in zip(merged["samples"].unbind(), plain["samples"].unbind(), strict=True):
        assert torch.allclose(one, other, atol=2e-5)
    import folder_paths  # ComfyUI's

    from openltx.model_loaders.parts import open_model, open_parts

    (file,) = (Path(folder_paths.get_output_directory()) / "saved").glob("model_*.safetensors")
    cpu = torch.device("cpu")
    saved = open_model(file, dtype=torch.float32).transformer.on(cpu).state_dict()
    checkpoint = HERE.parents[1] / "assets" / "openltx-tiny-2.3.safetensors"
    first = open_parts(checkpoint, dtype=torch.float32).model.transformer.on(cpu).state_dict()
    assert saved.keys() == first.keys()
    assert all(torch.equal(saved[name], first[name]) for name in first)


def test_reference_audio_with_its_own_pass(graphs: Any, side: Any) -> None:
    """Its pass without the voice differs from the one with it, so the scale acts."""
    graph = {**side.stage(), "sound": side.node("OpenLTXDecodeAudio", latent=["empty", 0], audio_vae=["load", 3])}

    def sampled(scale: float) -> Any:
        links: dict[str, Any] = {"positive": ["rate", 0], "negative": ["rate", 1], "reference_audio": ["sound", 0]}
        voice = side.node(
            "LTXVReferenceAudio",
            **links,
            model=["load", 0],
            audio_vae=["load", 3],
            identity_guidance_scale=scale,
            start_percent=0.0,
            end_percent=1.0,
        )
        guided: dict[str, Any] = {"model": ["voice", 0], "positive": ["voice", 1], "negative": ["voice", 2], "cfg": 1.0}
        pieces = {"voice": voice, "guider": side.node("CFGGuider", **guided), "out": side.advanced()}
        return graphs.run({**graph, **pieces}, ("out", 0))["samples"].unbind()[1]

    assert float((sampled(3.0) - sampled(0.0)).abs().max()) > 1e-3


def test_context_windows_cover_the_same_time_of_both_streams(graphs: Any, side: Any) -> None:
    model = graphs.run(side.stage(frames=97), ("load", 0)).model
    shapes = [(1, 32, 13, 2, 2), (1, 2, 101, 16)]
    windows = [model.map_context_window_to_modalities(range(first, first + 5), shapes, 2) for first in (0, 4, 8)]
    assert [window[0] for window in windows] == [list(range(first, first + 5)) for first in (0, 4, 8)]
    sound = [window[1] for window in windows]
    assert sound[0][0] == 0
    assert sound[-1][-1] == 100
    assert all(one[-1] + 1 >= other[0] for one, other in zip(sound, sound[1:], strict=False))
    assert {len(part) for part in sound} <= {33, 34, 41, 42, 43}
