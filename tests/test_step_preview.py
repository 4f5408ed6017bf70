"""Step previews on the nodes, progress by step, and interruption within a block."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from openltx.api import load_workflow
from openltx.media.av_reader import read_sound
from openltx.networks.transformer.block import Block
from openltx.nodes import preview as preview_module
from openltx.nodes.core import CORE_NODES
from openltx.nodes.guide import NO_GUIDANCE, Guider
from openltx.nodes.host.standalone import executor
from openltx.nodes.host.standalone.runtime import Interrupted, Observer
from openltx.nodes.host.standalone.schema import registry_of
from openltx.nodes.host.standalone.settings import Settings
from openltx.nodes.load import INSIDE, LoadModel
from openltx.nodes.preview import Preview, interruptible
from openltx.nodes.registry import NODES
from openltx.nodes.step_preview import StepPreview
from openltx.samplers.preview import LinearMap, film_strip, spread
from openltx.samplers.streams import Streams


class Watching(Observer):
    def __init__(self) -> None:
        self.seen: list[tuple[str, int, int, Any]] = []

    def node_progress(self, node_id: str, done: int, total: int, preview: Any) -> None:
        self.seen.append((node_id, done, total, preview))


def _prompt(**preview: Any) -> dict[str, Any]:
    """One stage of two steps, 64x32 pixels and 25 frames, on the embedded model."""
    prompt = load_workflow("one_stage")
    ids = {node["_meta"]["title"]: node_id for node_id, node in prompt.items()}
    prompt[ids["Size"]]["inputs"] |= {"width": 64, "height": 32, "frames": 25}
    prompt[ids["Recipe"]]["inputs"] |= {"steps": 2, "recipe": "one stage"}
    stage = prompt.pop(ids["Stage"])
    kept = {ids[title] for title in ("Model", "Prompt", "Negative Prompt", "Size", "Noise", "Recipe")}
    prompt = {node_id: node for node_id, node in prompt.items() if node_id in kept}
    if preview:
        inputs = {"guider": stage["inputs"]["guider"], **preview}
        prompt["shown"] = {"class_type": "OpenLTXStepPreview", "inputs": inputs, "_meta": {"title": "Preview"}}
        stage["inputs"]["guider"] = ["shown", 0]
    prompt["stage"] = stage
    decode = {"audio_vae": [ids["Model"], 3], "latent": ["stage", 0]}
    prompt["sound"] = {"class_type": "OpenLTXDecodeAudio", "inputs": decode}
    save = {"audio": ["sound", 0], "filename_prefix": "x", "container": "wav"}
    prompt["save"] = {"class_type": "OpenLTXSaveAudio", "inputs": save}
    return prompt


def _run(prompt: dict[str, Any], folder: Any, stop: threading.Event | None = None) -> Watching:
    observer = Watching()
    settings = Settings(output_folder=folder, device="cpu")
    executor.run(prompt, registry_of([*NODES, *CORE_NODES]), settings=settings, observer=observer, stop=stop)
    return observer


def test_every_step_reports_and_shows_picture_and_sound(tmp_path: Any) -> None:
    observer = _run(_prompt(video_vae=["1", 2], audio_vae=["1", 3]), tmp_path)
    steps = [(done, total, preview) for node_id, done, total, preview in observer.seen if node_id == "stage"]
    assert [(done, total) for done, total, _ in steps] == [(1, 2), (2, 2)]
    first, last = (preview for _, _, preview in steps)
    assert first.size == (512, 64 + 32)  # four frames of two cells, 64 pixels a cell, and the curve
    assert first.tobytes() != last.tobytes()


def test_without_a_preview_nothing_is_decoded_for_one(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preview_module, "fit_preview", None)
    monkeypatch.setattr(preview_module, "fit_envelope", None)
    observer = _run(_prompt(), tmp_path)
    assert [preview for node_id, _, _, preview in observer.seen if node_id == "stage"] == [None, None]


def test_a_vae_is_fitted_once_and_streams_without_one_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    model, _, video, audio = LoadModel.execute("openltx-tiny-2.3.safetensors", INSIDE, "float32").args
    guidance: Any = NO_GUIDANCE
    guider = Guider(model=model, positive=[], guidance=guidance)
    shown = StepPreview.execute(guider, video, None).args[0]
    monkeypatch.setattr(preview_module, "fit_preview", None)  # a second fit would fail
    again = StepPreview.execute(guider, video, audio).args[0]
    assert again.preview.colours is shown.preview.colours
    assert shown.preview.loudness is None
    latents = Streams(video=torch.zeros(1, 32, 2, 1, 1), audio=torch.zeros(1, 2, 9, 16))
    assert shown.preview.picture(latents).size == (512, 256)
    assert again.preview.picture(Streams(audio=latents.audio)).size == (512, 32)
    assert shown.preview.picture(Streams(audio=latents.audio)) is None
    with pytest.raises(ValueError, match=r"video_vae: expected LTX-2\.3 .* found LTX-2\.5"):
        StepPreview.execute(guider, replace(video, generation="2.5"))


def test_the_picture_follows_the_latent() -> None:
    colours = LinearMap(weights=torch.eye(3), offset=torch.zeros(3), error=0.0)
    video = torch.zeros(1, 3, 9, 2, 4)
    video[:, 0] = torch.linspace(0, 1, 9)[:, None, None]
    picture = Preview(colours=colours).picture(Streams(video=video))
    assert picture is not None
    reds = [picture.getpixel((32 * 4 * index + 64, 32)) for index in range(4)]
    assert [red[0] for red in reds if isinstance(red, tuple)] == [round(255 * frame / 8) for frame in (0, 3, 5, 8)]


def test_frames_are_spread_from_first_to_last() -> None:
    assert spread(1, 4) == [0]
    assert spread(3, 4) == [0, 1, 2]
    assert spread(16, 4) == [0, 5, 10, 15]


def test_a_louder_moment_is_a_taller_bar() -> None:
    strip = film_strip(None, torch.tensor([0.0, 0.5, 1.0]), width=300)
    heights = (strip[..., 0] > 0).sum(0)
    assert strip.shape == (32, 300, 3)
    assert (int(heights[0]), int(heights[150]), int(heights[299])) == (0, 16, 32)


@pytest.mark.parametrize("block", [0, 1, 3])
def test_interruption_comes_within_one_block(tmp_path: Any, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    stop, ran, forward = threading.Event(), [], Block.forward

    def stopping(self: Block, *arguments: Any) -> Any:
        ran.append(self.index)
        if len(ran) == 5 + block:
            stop.set()
        return forward(self, *arguments)

    monkeypatch.setattr(Block, "forward", stopping)
    with pytest.raises(Interrupted):
        _run(_prompt(), tmp_path, stop)
    assert len(ran) == 5 + block
    assert not list(tmp_path.iterdir())


def test_hooks_are_gone_afterwards() -> None:
    block = torch.nn.Linear(1, 1)
    with interruptible([block]):
        assert len(block._forward_pre_hooks) == 1
    with pytest.raises(RuntimeError, match="broken"), interruptible([block]):
        raise RuntimeError("broken")
    assert not block._forward_pre_hooks


def test_shown_values_do_not_leak_into_results(tmp_path: Any) -> None:
    """With and without a preview: the same bits."""
    sounds: list[Tensor] = []
    for preview in ({}, {"video_vae": ["1", 2]}):
        folder = tmp_path / str(len(sounds))
        folder.mkdir()
        _run(_prompt(**preview), folder)
        (file,) = folder.glob("*.wav")
        sound = read_sound(file)
        assert sound is not None
        sounds.append(sound.waveform)
    assert torch.equal(*sounds)


def test_the_one_node_sampler_shows_its_steps_too(tmp_path: Any) -> None:
    prompt = load_workflow("text_to_av")
    ids = {node["_meta"]["title"]: node_id for node_id, node in prompt.items()}
    (sample,) = (node_id for node_id, node in prompt.items() if node["class_type"] == "OpenLTXSample")
    prompt[sample]["inputs"] |= {"preview_vae": [ids["Model"], 2], "video_cfg": 1.0, "audio_cfg": 1.0}
    for node in prompt.values():
        for name, value in {"width": 64, "height": 64, "frames": 9, "steps": 2}.items():
            if name in node["inputs"]:
                node["inputs"][name] = value
    shown = [preview for node_id, _, _, preview in _run(prompt, tmp_path).seen if node_id == sample]
    assert len(shown) == 2
    assert all(preview is not None for preview in shown)
