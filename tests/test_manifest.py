"""What a saved file says of its making, and running it again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import openltx
from openltx.cli import main
from openltx.media.av_reader import read_tags
from openltx.media.av_writer import write_av
from openltx.nodes.conditioning import EncodePrompt
from openltx.nodes.decode import DecodeAudio, DecodeVideo
from openltx.nodes.host.standalone.settings import Settings, use
from openltx.nodes.join import JoinAV, SplitAV
from openltx.nodes.latents import EmptyAVLatent
from openltx.nodes.load import INSIDE, LoadModel
from openltx.nodes.lora import LoadLora
from openltx.nodes.manifest import differences, fingerprint, manifest, output_tags
from openltx.nodes.sample import Sample
from openltx.nodes.save import SaveAV
from openltx.reproduce import reproduce

SMALL: dict[str, Any] = {"width": 64, "height": 64, "frames": 9, "steps": 2}


class Hidden:
    prompt: Any = {"1": {"class_type": "OpenLTXNoise", "inputs": {"noise_seed": 7, "model": ["2", 0], "strength": 0.5}}}
    extra_pnginfo: Any = {"workflow": {"nodes": []}}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "a.mkv"
    openltx.run(prompt="a red ball", output=path, settings={"Save.codec": "ffv1"}, **SMALL)
    return path


def test_tags_are_those_of_the_host_and_our_own() -> None:
    tags = output_tags(Hidden, torch.rand(2, 8, 8, 3), None)
    assert set(tags) == {"prompt", "workflow", "openltx"}
    own = json.loads(tags["openltx"])
    assert own["seeds"] == {"1 OpenLTXNoise": {"noise_seed": 7}}
    assert own["settings"] == {"1 OpenLTXNoise": {"strength": 0.5}}
    assert own["result"]["frames"]["shape"] == [2, 8, 8, 3]
    assert own["result"]["sound"] is None
    assert own["versions"]["torch"] == torch.__version__


def test_no_tags_when_the_host_wants_none(tmp_path: Path) -> None:
    with use(Settings(output_folder=tmp_path, metadata=False)):
        assert output_tags(Hidden, torch.rand(2, 8, 8, 3), None) == {}
    path = tmp_path / "a.mp4"
    openltx.run(prompt="a red ball", output=path, metadata=False, **SMALL)
    assert not read_tags(path).keys() & {"prompt", "openltx", "workflow"}
    sizes = [f"--{name}={value}" for name, value in SMALL.items()]
    assert main(["generate", "a red ball", "-o", str(path), "--no-metadata", *sizes]) == 0
    assert not read_tags(path).keys() & {"prompt", "openltx", "workflow"}


def test_a_file_is_reproduced_to_the_bit(saved: Path) -> None:
    own = json.loads(read_tags(saved)["openltx"])
    assert "openltx-tiny-2.3.safetensors" in own["models"]
    found = reproduce(saved)
    assert found.same
    assert found.same_latents is True
    assert found.differences == ()


def test_the_steps_of_a_run_are_told_as_they_ran(saved: Path) -> None:
    own = json.loads(read_tags(saved)["openltx"])
    sample, *decoded = own["steps"]
    assert sample["step"] == "sample"
    assert sample["dtype"] == "float32"  # the workflow says "auto"
    assert sample["noise"] == {"kind": "SeededNoise", "seed": 10}
    assert sample["rule"]["name"] == "euler"
    assert sample["loras"] == []
    assert sample["attention"] == "torch"
    assert sample["placement"]["kind"] == "Placement"
    assert sample["placement"]["resident_blocks"] is None  # all of them: nothing was tight
    assert (len(sample["sigmas"]), round(sample["sigmas"][0], 5), sample["sigmas"][-1]) == (3, 1.0, 0.0)
    assert sorted(step["step"] for step in decoded) == ["decode audio", "decode video"]
    (latent,) = own["result"]["latents"]
    assert latent["video"]["shape"][2:] == [2, 2, 2]
    assert set(latent) == {"video", "audio"}
    assert "seeded CPU generator" in own["noise_order"]


def test_other_latents_are_told(saved: Path, tmp_path: Path) -> None:
    tags = {name: text for name, text in read_tags(saved).items() if name in ("prompt", "openltx")}
    own = json.loads(tags["openltx"])
    own["result"]["latents"][0]["audio"]["sha256"], own["steps"][0]["sigmas"][1] = "0", 0.123
    path = write_av(
        tmp_path / "b.mp4", [torch.rand(2, 32, 32, 3)], frame_rate=24, tags=tags | {"openltx": json.dumps(own)}
    )
    found = reproduce(path)
    assert (found.same, found.same_latents) == (True, False)
    (line,) = found.differences
    assert line.startswith("steps.0.sigmas.1: 0.123, now 0.")


def test_two_stages_and_a_lora_are_told(tmp_path: Path) -> None:
    """The history passes through splitting and joining, to the frames and the sound."""
    layer = "transformer_blocks.0.attn1.to_q"
    model, text, video_vae, audio_vae = LoadModel.execute("openltx-tiny-2.3.safetensors", INSIDE, "float32").args
    wide = model.transformer.on(torch.device("cpu")).state_dict()[f"{layer}.weight"].shape
    save_file(
        {f"{layer}.lora_A.weight": torch.ones(2, wide[1]), f"{layer}.lora_B.weight": torch.ones(wide[0], 2)},
        tmp_path / "ink.safetensors",
    )
    with torch.inference_mode():
        adapted = LoadLora.execute(model, str(tmp_path / "ink.safetensors"), 0.5, 1.0, 0.0, 1.0, 1.0, "").args[0]
        positive, empty = EncodePrompt.execute(text, "a ball").args[0], EmptyAVLatent.execute(model, 64, 64, 9, 24.0)
        sigmas = torch.tensor([1.0, 0.5, 0.0])
        first = Sample.execute(adapted, positive, empty.args[0], sigmas, 1, 1.0, 1.0).args[0]
        joined = JoinAV.execute(*SplitAV.execute(first).args).args[0]
        second = Sample.execute(model, positive, joined, sigmas[1:], 2, 1.0, 1.0).args[0]
        frames = DecodeVideo.execute(video_vae, second).args[0]
        sound = DecodeAudio.execute(audio_vae, first).args[0]
    own = manifest({}, frames, sound)
    assert [step["step"] for step in own["steps"]] == ["sample", "sample", "decode video", "decode audio"]
    assert [step.get("sigmas") for step in own["steps"][:2]] == [[1.0, 0.5, 0.0], [0.5, 0.0]]
    (lora,) = own["steps"][0]["loras"]
    assert lora["file"] == "ink.safetensors"
    assert (lora["strengths"]["video"], lora["strengths"]["audio"]) == (0.5, 0.0)
    assert own["steps"][1]["loras"] == []
    assert [set(latent) for latent in own["result"]["latents"]] == [{"video", "audio"}] * 2


def test_what_differs_is_named(saved: Path, tmp_path: Path) -> None:
    tags = {name: text for name, text in read_tags(saved).items() if name in ("prompt", "openltx")}
    own = json.loads(tags["openltx"])
    own["versions"]["torch"], own["result"]["frames"]["sha256"] = "1.0", "0"
    path = write_av(
        tmp_path / "b.mp4", [torch.rand(2, 32, 32, 3)], frame_rate=24, tags=tags | {"openltx": json.dumps(own)}
    )
    found = reproduce(path)
    assert not found.same
    assert found.differences == (f"versions.torch: '1.0', now {torch.__version__!r}",)
    bare = write_av(tmp_path / "c.mp4", [torch.rand(2, 32, 32, 3)], frame_rate=24)
    with pytest.raises(ValueError, match="found no 'prompt'"):
        reproduce(bare)


def test_differences_are_found_at_every_depth() -> None:
    old, new = {"a": {"b": 1, "c": 2}, "d": [1]}, {"a": {"b": 1, "c": 3}, "d": [1], "e": 0}
    assert differences(old, new) == ["a.c: 2, now 3", "e: None, now 0"]
    assert differences({"d": [1, 2]}, {"d": [1, 3]}) == ["d.1: 2, now 3"]
    assert differences({"d": [1]}, {"d": [1, 3]}) == ["d: [1], now [1, 3]"]


def test_a_model_is_known_by_its_content(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(bytes(10 << 20))
    first = fingerprint(path)
    assert first["bytes"] == 10 << 20
    assert fingerprint(path) == first
    with path.open("rb+") as file:
        file.seek(-1, 2)
        file.write(b"x")
    assert fingerprint(path) != first


def test_a_row_between_is_not_needed_to_see_a_change() -> None:
    frames = torch.rand(3, 16, 16, 3)
    sound = {"waveform": torch.zeros(1, 2, 5), "sample_rate": 48000}
    one, same = manifest({}, frames, sound), manifest({}, frames.clone(), sound)
    assert one == same
    assert manifest({}, frames + 1e-6, sound) != one


def test_the_save_node_passes_its_choices_on(tmp_path: Path) -> None:
    with use(Settings(output_folder=tmp_path)):
        audio = {"waveform": torch.zeros(1, 1, 4800), "sample_rate": 48000}
        shown = SaveAV.execute(torch.rand(5, 32, 32, 4), 24.0, "a", "mkv", audio, "ffv1", -1, "flac", "own").ui
        SaveAV.execute(torch.rand(5, 32, 32, 3), 24.0, "a", "gif", audio)
        with pytest.raises(ValueError, match="quality: expected 0 to 51"):
            SaveAV.execute(torch.rand(5, 32, 32, 3), 24.0, "a", "mp4", None, "h264", 60)
    assert shown is not None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a_00001_.mkv", "a_00002_.gif"]
