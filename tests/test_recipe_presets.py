"""Presets of recipes: the table, the node that makes samplers of it, and the recipes that have it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from openltx.api import load_workflow, run, workflow_names
from openltx.conformance.recipes import Recipe, Socket
from openltx.media.av_writer import write_av
from openltx.media.exr import read_exr
from openltx.nodes.guide import PRESETS as GUIDER_PRESETS
from openltx.nodes.host.standalone.workflow import exposed_inputs
from openltx.nodes.latents import KEYFRAME_CLIP, KEYFRAMES, items_of, members
from openltx.nodes.load import INSIDE, LoadModel
from openltx.nodes.recipe import Recipe as RecipeNode
from openltx.nodes.rendering import RenderTile, StitchTiles, window_of
from openltx.nodes.rules import RULES
from openltx.samplers.guidance import STEPS
from openltx.samplers.recipe_presets import PRESETS, RECIPES, recipe_preset
from openltx.samplers.schedules import check_sigmas, distilled_sigmas, manual_sigmas

WITH_PRESET = [name for name in workflow_names() if "preset" in exposed_inputs(load_workflow(name))]
SIDE, FRAMES = 64, 17


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """64x64 pixels, 17 frames at 24 a second, with sound."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    ramp = torch.linspace(0, 1, FRAMES * SIDE * SIDE * 3).reshape(FRAMES, SIDE, SIDE, 3)
    sound = torch.sin(torch.arange(16000) / 20).expand(2, -1) * 0.5
    write_av(path, [ramp], frame_rate=24.0, waveform=sound, sample_rate=16000)
    return path


def values(name: str, clip: Path, wanted: dict[str, Socket], /, **settings: Any) -> dict[str, Any]:
    """What the recipe makes at small sizes; `settings` by option."""
    recipe = Recipe(prompt=load_workflow(name))
    exposed = exposed_inputs(recipe.prompt)
    given = {"video": str(clip), "width": 64, "height": 64, "frames": 9, **settings}
    for option, value in given.items():
        assert option in exposed or option not in settings, f"{name} has no option {option}"
        if option in exposed:
            recipe.prompt[exposed[option].node_id]["inputs"][exposed[option].input] = value
    return recipe.run("cpu", **wanted)


@pytest.mark.parametrize("generation", list(STEPS))
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("recipe", RECIPES)
def test_every_preset_names_what_exists(recipe: str, preset: str, generation: str) -> None:
    found = recipe_preset(recipe, preset, generation)
    assert isinstance(found.guidance, float) or found.guidance in GUIDER_PRESETS
    for stage in (found.first, found.refine):
        assert stage.rule in RULES
        assert stage.rule in found.text()
        if stage.sigmas is None:
            assert stage.steps > 0
        else:
            table = distilled_sigmas(stage.sigmas) if isinstance(stage.sigmas, str) else manual_sigmas(stage.sigmas)
            assert check_sigmas(table)[-1] == 0
        assert 0 < stage.image_strength <= 1


def test_the_official_column_of_the_page() -> None:
    steps = {generation: recipe_preset("one stage", "official", generation).first.steps for generation in STEPS}
    assert steps == {"2": 40, "2.3": 30, "2.5": 30}
    rules = {generation: recipe_preset("distilled", "official", generation).first.rule for generation in STEPS}
    assert rules == {"2": "euler", "2.3": "euler", "2.5": "euler_ancestral"}
    assert recipe_preset("IC-LoRA", "official", "2.5").first.rule == "euler", "no ancestral rule in this recipe"
    assert recipe_preset("HDR", "official", "2.3").refine.sigmas == "HDR refinement"


def test_the_community_column_of_the_page() -> None:
    two = recipe_preset("two stages", "community", "2.3")
    assert (two.first.rule, two.first.eta, two.first.image_strength) == ("euler_ancestral_cfg_pp", 1.0, 0.7)
    assert (two.refine.rule, two.refine.sigmas) == ("euler_cfg_pp", (0.85, 0.725, 0.4219, 0.0))
    assert (two.guidance, two.mask_rule) == (1.0, "community")
    older = recipe_preset("two stages", "community", "2")
    assert (older.first.rule, older.first.steps, older.guidance) == ("res_2s", 20, 4.0)
    unknown = recipe_preset("two stages", "community", "2.5")
    assert unknown.first == recipe_preset("two stages", "official", "2.5").first
    assert "no shared workflow exists" in unknown.text()
    with pytest.raises(ValueError, match="expected one of one stage, .* found 'three stages'"):
        recipe_preset("three stages", "official", "2.3")


def test_the_node_makes_both_stages_and_names_the_rules(capsys: pytest.CaptureFixture[str]) -> None:
    model = LoadModel.execute("openltx-tiny-2.3.safetensors", INSIDE, "float32").args[0]
    positive: Any = [[torch.zeros(1, 2, 192), {}]]
    made = RecipeNode.execute(model, positive, "two stages", "community", 0, positive)
    guider, sampler, sigmas, strength, refine, refine_sampler, refine_sigmas, refine_strength, text = made.args
    assert (guider.mask_rule, refine.mask_rule) == ("community", "community")
    assert (sampler.name, sampler.eta, refine_sampler.name) == ("euler_ancestral_cfg_pp", 1.0, "euler_cfg_pp")
    assert (len(sigmas), refine_sigmas.tolist()[0]) == (9, pytest.approx(0.85))
    assert (strength, refine_strength) == (0.7, 1.0)
    assert "two stages, community: first stage euler_ancestral_cfg_pp (eta 1), table 'stage 1', CFG 1" in text
    assert made.ui is not None
    assert not isinstance(made.ui, dict)
    assert made.ui.as_dict() == {"text": (text,)}
    official = RecipeNode.execute(model, positive, "one stage", "official", 5, positive).args
    assert len(official[2]) == 6
    assert official[0].guidance.video.cfg == 3.0
    assert RecipeNode.execute(model, positive, "one stage", "official", 0).args[2].shape == (31,)
    capsys.readouterr()
    assert len(RecipeNode.execute(model, positive, "distilled", "official", 5).args[2]) == 9
    assert "steps 5: the preset steps along a fixed table" in capsys.readouterr().err


def test_the_recipes_of_the_table_have_the_switch() -> None:
    used = {
        node["inputs"]["recipe"]
        for name in WITH_PRESET
        for node in load_workflow(name).values()
        if node["class_type"] == "OpenLTXRecipe"
    }
    assert used == set(RECIPES)


@pytest.mark.parametrize("name", ["ingredients", "motion_track", "outpaint", "text_to_audio", "two_stages_image"])
def test_the_community_preset_runs_and_is_another_result(name: str, clip: Path) -> None:
    stage = "Stage" if "Stage" in Recipe(prompt=load_workflow(name)).titles() else "Stage 2"
    small = {"width": 128, "height": 128} if name == "motion_track" else {}
    first, other = (
        members(values(name, clip, {"made": (stage, 0)}, preset=preset, **small)["made"]).present()[0]
        for preset in PRESETS
    )
    assert first.shape == other.shape
    assert not torch.equal(first, other)


def test_hdr_makes_linear_frames_of_the_clips_size(tmp_path: Path, clip: Path) -> None:
    odd = tmp_path / "odd.mp4"
    ramp = torch.linspace(0, 1, 9 * 70 * 66 * 3).reshape(9, 70, 66, 3)
    write_av(odd, [ramp], frame_rate=24.0, waveform=torch.zeros(2, 16000), sample_rate=16000)
    run("hdr", output_folder=tmp_path, device="cpu", video=odd)
    files = sorted(tmp_path.glob("*_exr/*.exr"))
    assert len(files) == 9
    assert tuple(read_exr(files[0]).shape[:2]) == (70, 66)
    found = values(
        "hdr",
        odd,
        {"size": ("Size", 0), "made": ("Stage 2", 0), "light": ("Linear Light", 0)},
        **{"high-quality": True},
    )
    assert tuple(members(found["size"]).present()[0].shape[2:]) == (3, 2, 2)  # 17 frames of 128x128, halved
    assert tuple(found["light"].shape) == (9, 70, 66, 3)
    assert len(items_of(found["made"]).video or ()) == 0


def test_outpainting_keeps_the_clip_and_paints_the_borders(clip: Path) -> None:
    names = {"control": "Control Clip", "made": "Decode Video", "composite": "Composite", "video": "Video"}
    wanted: dict[str, Socket] = {name: (title, 0) for name, title in names.items()}
    found = values("outpaint", clip, wanted, left=0, right=64, blur=0)
    assert found["control"].shape[1:] == (64, 128, 3)
    assert torch.equal(found["composite"][:, :, :64], found["video"])
    assert torch.equal(found["composite"][:, :, 64:], found["made"][:, :, 64:])
    assert found["control"][0, 0, -1].tolist() == pytest.approx([0.4, 1.0, 0.0])


def test_an_extension_begins_with_the_clip_in_picture_and_sound(clip: Path) -> None:
    wanted: dict[str, Socket] = {"source": ("Source", 0), "made": ("Stage", 0)}
    found = values("extend", clip, wanted, frames=33, overlap=0.3)
    source, made = members(found["source"]), members(found["made"])
    assert made.video is not None
    assert made.audio is not None
    assert source.video is not None
    assert source.audio is not None
    assert (made.video.shape[2], made.audio.shape[2]) == (5, 34)
    assert torch.equal(made.video[:, :, :2], source.video[:, :, :2]), "all but what is blended"
    kept = source.audio.shape[2] - 8
    assert torch.equal(made.audio[:, :, :kept], source.audio[:, :, :kept])
    assert float((made.video[:, :, 3:]).abs().sum()) > 0


def test_a_long_clip_has_a_prompt_a_segment(clip: Path) -> None:
    def made(prompts: str) -> Tensor:
        small = {"segment": 0.7, "overlap": 0.3, "frames": 25}
        return members(values("long_clip", clip, {"made": ("Stage", 0)}, prompts=prompts, **small)["made"]).present()[0]

    one, two = made("a ball"), made("a ball\n---\nsilence")
    assert torch.equal(one[:, :, :2], two[:, :, :2])
    assert not torch.equal(one[:, :, 3:], two[:, :, 3:])


def test_the_pixel_upscaler_reads_the_clip_at_its_own_size(clip: Path) -> None:
    wanted: dict[str, Socket] = {"size": ("Size", 0), "given": ("Source", 0)}
    found = values("pixel_upscaler", clip, wanted)
    (item,) = items_of(found["given"]).video or ()
    assert tuple(members(found["size"]).present()[0].shape[2:]) == (3, 8, 8)
    assert tuple(item.latent.shape[2:]) == (3, 2, 2)  # type: ignore[attr-defined]


def test_the_sheet_of_ingredients_lies_beside_the_whole_clip(clip: Path) -> None:
    found = values("ingredients", clip, {"given": ("Ingredients", 0), "frames": ("Ingredients", 1)}, frames=17)
    (item,) = items_of(found["given"]).video or ()
    assert item.latent.shape[2] == 3  # type: ignore[attr-defined]
    assert found["frames"].startswith("frames 0 to 16")


def test_the_detailer_keeps_the_sound_and_refines_the_clip(clip: Path) -> None:
    found = values("detailer", clip, {"source": ("Source", 0), "made": ("Stage", 0), "sigmas": ("Recipe", 2)})
    source, made = members(found["source"]), members(found["made"])
    assert source.audio is not None
    assert made.audio is not None
    assert torch.equal(source.audio, made.audio)
    assert float(found["sigmas"][0]) == pytest.approx(0.909375)


def _keyframes(frames: list[int], clip_frames: int) -> dict[str, Any]:
    samples = torch.zeros(1, 2, len(frames), 1, 1)
    return {"samples": samples, "frame_rate": 24.0, KEYFRAMES: frames, KEYFRAME_CLIP: clip_frames}


def test_pictures_of_a_second_round_count_in_frames_of_the_first_stage() -> None:
    def tiles(frames: int, keyframes: dict[str, Any], count: int) -> list[dict[str, Any]]:
        whole = {"samples": torch.zeros(1, 2, (frames - 1) // 8 + 1, 1, 1), "frame_rate": 48.0}
        return [RenderTile.execute(whole, keyframes, index, count).args[0] for index in range(count)]

    first = tiles(97, _keyframes([24, 48], 49), 2)
    parts = {f"tile{index}": tile for index, tile in enumerate(first)}
    slots = [torch.zeros(1, 2, len(window_of(tile).tile.slots), 1, 1) for tile in first]
    made = {f"keyframes{index}": {"samples": samples} for index, samples in enumerate(slots)}
    keyframes = StitchTiles.execute(parts, made, 48.0).args[1]
    assert keyframes[KEYFRAMES] == [24, 48, 72, 96]
    for tile in tiles(193, keyframes, 4):
        window = window_of(tile)
        for frame in range(49):
            at = frame * 4 - window.tile.first_pixel
            inside = 0 <= at <= window.tile.last_pixel - window.tile.first_pixel
            assert window.local(frame) == (at if inside else None)
        last = window.tile.last_pixel == 192
        assert window.local(-1) == (192 - window.tile.first_pixel if last else None)
