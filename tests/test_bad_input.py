"""The table of bad input: a row a test, one line each. Guidance on a distilled model is in test_nodes.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from openltx.nodes.conditioning import EncodePrompt
from openltx.nodes.guide import NO_GUIDANCE, Guider
from openltx.nodes.host.api import NestedTensor
from openltx.nodes.host.standalone.settings import Settings, use
from openltx.nodes.image_items import ConditionImage, ConditionReference
from openltx.nodes.join import JoinAV
from openltx.nodes.latents import EmptyAVLatent, members
from openltx.nodes.load import INSIDE, LoadModel
from openltx.nodes.long import SampleLong
from openltx.nodes.mask_items import ConditionInpaint
from openltx.nodes.noise import SeededNoise
from openltx.nodes.rules import RULES, NamedRule
from openltx.nodes.sample import SampleStage
from openltx.nodes.schedule import NamedSchedule, SchedulePart
from openltx.nodes.tiled import SampleTiles

SIGMAS = torch.tensor([1.0, 0.8, 0.5, 0.2, 0.0])


@pytest.fixture(scope="module")
def parts() -> Any:
    return LoadModel.execute("openltx-tiny-2.3.safetensors", INSIDE, "float32").args


@pytest.fixture(scope="module")
def latent(parts: Any) -> Any:
    return EmptyAVLatent.execute(parts[0], 64, 32, 9, 24.0).args[0]


@pytest.fixture(scope="module")
def positive(parts: Any) -> Any:
    with torch.inference_mode():
        return EncodePrompt.execute(parts[1], "a ball").args[0]


def refused(run: Callable[[], object]) -> str:
    """The one line of the refusal."""
    with pytest.raises(ValueError) as error:  # noqa: PT011  # what it says is checked by the caller
        run()
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 400
    return text


def pinned(parts: Any, latent: Any, *frames: int, placement: str = "append") -> Any:
    for frame in frames:
        picture = torch.zeros(1, 32, 64, 3)
        latent = ConditionImage.execute(latent, parts[2], picture, frame, 1.0, placement, 0).args[0]
    return latent


@pytest.mark.parametrize("frame", [9, 100, -10])
def test_a_keyframe_beyond_the_clip(parts: Any, latent: Any, frame: int) -> None:
    text = refused(lambda: pinned(parts, latent, frame))
    assert text.startswith("keyframe: expected a frame from 0 to 8")
    assert f"found {frame}; move it into the clip" in text


def test_two_items_that_claim_a_frame_with_full_strength(parts: Any, latent: Any) -> None:
    text = refused(lambda: pinned(parts, latent, 5, -4))
    assert text == "items 1 and 2 both claim frame 5 at full strength; move one, or lower its strength"


@pytest.mark.parametrize(
    ("frames", "found"), [((1, 40, 40), "1 of 40x40"), ((3, 32, 64), "3 of 64x32"), ((9, 64, 32), "9 of 32x64")]
)
def test_a_mask_of_another_size(parts: Any, latent: Any, frames: tuple[int, ...], found: str) -> None:
    clip, mask = torch.zeros(9, 32, 64, 3), torch.zeros(frames)
    expected = f"mask: expected 1 or 9 frames of 64x32 pixels, as the clip has, found {found}"
    inpaint = refused(lambda: ConditionInpaint.execute(latent, parts[2], clip, mask, 1.0, "max"))
    options = {"video_vae": parts[2], "images": clip, "mask": mask}
    reference = refused(lambda: ConditionReference.execute(latent, 1, 1, 1.0, 1.0, **options))
    assert inpaint.startswith(expected)
    assert reference.startswith(expected)


def test_an_empty_list_of_sigmas(parts: Any, latent: Any, positive: Any) -> None:
    text = refused(lambda: NamedSchedule.execute("manual", 1, " , "))
    assert text == "sigmas: expected a list of at least two values, found shape (0,)"
    assert refused(lambda: _stage(parts[0], latent, positive, sigmas=torch.zeros(0))) == text


@pytest.mark.parametrize("values", ["0.5, 0.7, 0", "0.7, 0.7, 0"])
def test_sigmas_that_rise(parts: Any, latent: Any, positive: Any, values: str) -> None:
    assert "strictly falling" in refused(lambda: NamedSchedule.execute("manual", 1, values))
    sigmas = torch.tensor([float(value) for value in values.split(",")])
    assert "strictly falling" in refused(lambda: _stage(parts[0], latent, positive, sigmas=sigmas))
    assert "strictly falling" in refused(lambda: SchedulePart.execute(sigmas, 0, 0, 0.6))


@pytest.mark.parametrize(
    "samples",
    [
        torch.zeros(1, 4, 64, 64),
        torch.zeros(1, 16, 64, 64),
        torch.zeros(1, 16, 1, 32, 32),
        torch.zeros(1, 128, 2, 2, 2),
        NestedTensor([torch.zeros(1, 32, 2, 1, 2), torch.zeros(1, 8, 9, 16)]),
    ],
    ids=["sd", "flux", "qwen image", "another LTX video", "another LTX sound"],
)
def test_a_latent_from_another_model(parts: Any, positive: Any, samples: Any) -> None:
    text = refused(lambda: _stage(parts[0], {"samples": samples, "frame_rate": 24.0}, positive))
    assert text.startswith("latent: expected")
    assert "start from Empty AV Latent (LTX)" in text


def test_an_audio_latent_of_another_duration(parts: Any, latent: Any, positive: Any) -> None:
    sound = {"samples": torch.zeros(1, parts[0].audio_channels, 30, 16)}
    expected = "audio: expected a latent of 9 frames (0.36 s) beside 9 pictures at 24 a second, found 30 (1.20 s)"
    assert refused(lambda: JoinAV.execute(latent, sound)).startswith(expected)
    video = members(latent).video
    assert video is not None
    pair = {**latent, "samples": NestedTensor([video, sound["samples"]])}
    assert refused(lambda: _stage(parts[0], pair, positive)).startswith(expected)


def test_nan_before_any_step(parts: Any, positive: Any) -> None:
    video = torch.zeros(1, 32, 2, 2, 2)
    video[0, 0, 0, 0, 0] = float("nan")
    text = refused(lambda: _stage(parts[0], {"samples": video, "frame_rate": 24.0}, positive))
    assert text == "latent: expected finite numbers, found NaN or infinity in the video; make it anew"


class Breaking:
    """A transformer that gives NaN in one stream from its call number `at` on, counted from 1; its own loader, too."""

    paged = False

    def __init__(self, real: Any, at: int, stream: str) -> None:
        self._real, self._at, self._stream, self.calls = real, at, stream, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        self.calls += 1
        video, audio = self._real(*arguments, **options)
        if self.calls < self._at:
            return video, audio
        return (video * float("nan"), audio) if self._stream == "video" else (video, audio * float("nan"))

    def on(self, device: torch.device, **options: Any) -> Breaking:
        return self


def broken(parts: Any, at: int, stream: str = "audio") -> tuple[Any, Breaking]:
    network = Breaking(parts[0].transformer.on(torch.device("cpu")), at, stream)
    return replace(parts[0], transformer=network), network


@pytest.mark.parametrize("step", [1, 2, 3, 4])
@pytest.mark.parametrize("rule", RULES)
def test_nan_from_the_network_stops_at_its_step_and_leaves_the_last_good_latent(
    parts: Any, latent: Any, positive: Any, tmp_path: Path, rule: str, step: int
) -> None:
    """res_2s evaluates twice a step: there the step's second evaluation breaks."""
    first = 2 * step if rule == "res_2s" else step
    model, network = broken(parts, first)
    total = 5 if rule == "res_2s" else 4
    with use(Settings(output_folder=tmp_path, device="cpu")), pytest.raises(FloatingPointError) as error:
        _stage(model, latent, positive, rule=rule)
    text = str(error.value)
    assert "\n" not in text
    assert text.startswith(f"step {step} of {total}: the network gave NaN or infinity in the audio latent")
    assert network.calls == first + 2, "expected one more try with exact attention, and one to find the layer"
    (path,) = tmp_path.iterdir()
    assert text.endswith(str(path))
    saved, whole = load_file(path), members(latent)
    assert whole.video is not None
    assert whole.audio is not None
    assert (saved["video"].shape, saved["audio"].shape) == (whole.video.shape, whole.audio.shape)
    assert all(bool(value.isfinite().all()) for value in saved.values())
    with safe_open(path, "pt") as file:
        notes = file.metadata()
    assert notes["step"] == str(step - 1)
    if step == 1:
        assert "no step was good: the stage's start is in" in text
        assert torch.equal(saved["video"], whole.video)
    else:
        assert float(notes["sigma"]) == pytest.approx(float(SIGMAS[step - 2]))
        assert "the latent of the step before is in" in text


def test_nan_in_a_segment_names_it_and_keeps_the_segments_before(parts: Any, positive: Any, tmp_path: Path) -> None:
    latent = EmptyAVLatent.execute(parts[0], 32, 32, 49, 24.0).args[0]
    model, _ = broken(parts, 4 + 2)
    arguments = (_guider(model, positive), NamedRule(name="euler"), SIGMAS, latent, 1.3, 0.4, 0.4, 0.5, 1.0, 0.0)
    with use(Settings(output_folder=tmp_path, device="cpu")), pytest.raises(FloatingPointError) as error:
        SampleLong.execute(SeededNoise(1), *arguments)
    text = str(error.value)
    assert text.startswith("segment 2 of 2: step 2 of 4: the network gave NaN")
    before = load_file(text.rsplit("the segments before it are in ", 1)[1])
    assert before["video"].shape[2] == 5
    assert bool(before["audio"].isfinite().all())


def test_nan_in_a_tile_names_it(parts: Any, positive: Any, tmp_path: Path) -> None:
    latent = EmptyAVLatent.execute(parts[0], 128, 32, 9, 24.0).args[0]
    model, _ = broken(parts, 5, "video")
    arguments = (_guider(model, positive), NamedRule(name="euler"), SIGMAS, latent, 1, 2, 1, 1, 0)
    with (
        use(Settings(output_folder=tmp_path, device="cpu")),
        pytest.raises(FloatingPointError, match=r"^tile 2 of 2: step 1 of 4: the network gave NaN"),
    ):
        SampleTiles.execute(SeededNoise(1), *arguments)


def _guider(model: Any, positive: Any) -> Guider:
    guidance: Any = NO_GUIDANCE
    return Guider(model=model, positive=positive, guidance=guidance)


def _stage(model: Any, latent: Any, positive: Any, sigmas: Tensor = SIGMAS, rule: str = "euler") -> Any:
    with torch.inference_mode():
        arguments = (_guider(model, positive), NamedRule(name=rule, eta=0.5), sigmas, latent)
        return SampleStage.execute(SeededNoise(1), *arguments)
