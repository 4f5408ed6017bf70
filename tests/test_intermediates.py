"""What is saved comes back bit for bit, and a stage goes on from it as if it had never left."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from openltx.nodes.conditioning import EncodePrompt
from openltx.nodes.guide import PresetGuider
from openltx.nodes.host.standalone.settings import Settings, use
from openltx.nodes.intermediates import LoadIntermediates, SaveIntermediates
from openltx.nodes.latents import EmptyAVLatent
from openltx.nodes.load import INSIDE, LoadModel
from openltx.nodes.noise import Noise
from openltx.nodes.rules import Sampler
from openltx.nodes.sample import SampleStage

CHECKPOINT = "openltx-tiny-2.3.safetensors"


@pytest.fixture
def folders(tmp_path: Path) -> Any:
    (tmp_path / "input").mkdir()
    with use(Settings(output_folder=tmp_path / "output", input_folder=tmp_path / "input", device="cpu")):
        yield tmp_path


def there_and_back(folders: Path, **wires: Any) -> Any:
    """Saved, moved from the output folder to the input folder, and loaded."""
    SaveIntermediates.execute("parts", **wires)
    (saved,) = (folders / "output").glob("parts_*.safetensors")
    shutil.move(saved, folders / "input" / "parts.safetensors")
    return LoadIntermediates.execute("parts.safetensors").args


def wires() -> tuple[Any, dict[str, Any]]:
    model, text, _, _ = LoadModel.execute(CHECKPOINT, INSIDE, "float32").args
    conditioning = EncodePrompt.execute(text, "a ball").args[0]
    latent = EmptyAVLatent.execute(model, 64, 64, 9, 24.0, "video and audio").args[0]
    noise, sigmas = Noise.execute(3).args[0], torch.tensor([1.0, 0.6, 0.0])
    return model, {"conditioning": conditioning, "latent": latent, "sigmas": sigmas, "noise": noise}


def test_everything_comes_back(folders: Path) -> None:
    _, given = wires()
    given["latent"]["noise_mask"] = torch.rand(1, 1, 2, 2, 2)
    conditioning, latent, sigmas, *_ = there_and_back(folders, **given)
    assert torch.equal(conditioning[0][0], given["conditioning"][0][0])
    assert conditioning[0][1] == given["conditioning"][0][1]
    assert torch.equal(sigmas, given["sigmas"])
    assert set(latent) == set(given["latent"]) - {"openltx_made"}
    pairs = zip(latent["samples"].unbind(), given["latent"]["samples"].unbind(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    assert torch.equal(latent["noise_mask"], given["latent"]["noise_mask"])


def test_a_stage_goes_on_from_it(folders: Path) -> None:
    model, given = wires()
    conditioning, latent, sigmas, noise, _ = there_and_back(folders, **given)
    rule = Sampler.execute("euler_ancestral", 1.0, 1.0, 2.0, -1).args[0]

    def sampled(conditioning: Any, latent: Any, sigmas: Any, noise: Any) -> Any:
        guider = PresetGuider.execute(model, conditioning, "none").args[0]
        return SampleStage.execute(noise, guider, rule, sigmas, latent).args[0]["samples"].unbind()

    expected = sampled(given["conditioning"], given["latent"], given["sigmas"], given["noise"])
    found = sampled(conditioning, latent, sigmas, noise)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_what_a_file_does_not_hold_is_empty(folders: Path) -> None:
    conditioning, latent, sigmas, noise, _ = there_and_back(folders, sigmas=torch.tensor([1.0, 0.0]))
    assert conditioning is latent is noise is None
    assert torch.equal(sigmas, torch.tensor([1.0, 0.0]))


def test_noise_for_another_size_is_refused(folders: Path) -> None:
    model, given = wires()
    *_, noise, _ = there_and_back(folders, latent=given["latent"], noise=given["noise"])
    larger = EmptyAVLatent.execute(model, 96, 64, 9, 24.0, "video and audio").args[0]
    guider = PresetGuider.execute(model, given["conditioning"], "none").args[0]
    rule = Sampler.execute("euler", 1.0, 1.0, 2.0, -1).args[0]
    with pytest.raises(ValueError, match="noise: expected numbers for"):
        SampleStage.execute(noise, guider, rule, given["sigmas"], larger)
    with pytest.raises(ValueError, match="noise: expected numbers for latents"):
        noise.generate_noise(larger)


@pytest.mark.parametrize(
    ("wires", "found"),
    [
        ({}, "expected something to save"),
        (
            {"latent": {"samples": torch.zeros(1), "openltx_video_items": (1,)}},
            "expected one without conditioning items",
        ),
        ({"latent": {"samples": torch.zeros(1), "other": object()}}, "found object under 'other'"),
        ({"noise": 1}, "expected the latent that it is for"),
    ],
)
def test_what_cannot_be_saved_is_named(folders: Path, wires: Any, found: str) -> None:
    with pytest.raises(ValueError, match=found):
        SaveIntermediates.execute("parts", **wires)
    assert not list((folders / "output").glob("*"))


def test_another_file_is_refused(folders: Path) -> None:
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, folders / "input" / "x.safetensors")
    with pytest.raises(ValueError, match="expected a file of Save Intermediates"):
        LoadIntermediates.execute("x.safetensors")
