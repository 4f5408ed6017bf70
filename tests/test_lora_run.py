"""LoRA training from media files to a LoRA file, by the command and by the node, on the embedded tiny model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from openltx.cli import main
from openltx.media.av_reader import read_frames_at, video_info
from openltx.media.av_writer import write_av
from openltx.model_loaders.lora.model import with_lora
from openltx.model_loaders.lora.strengths import LoraStrengths
from openltx.model_loaders.parts import open_model
from openltx.networks.transformer import Transformer
from openltx.nodes.host.standalone.settings import Settings, use
from openltx.nodes.load import INSIDE
from openltx.nodes.train import TrainLora
from openltx.training.lora import precompute
from openltx.training.lora.config import LoraConfig, config_of
from openltx.training.lora.precompute import Cache, fill_cache
from openltx.training.lora.run import ignored, train_lora
from openltx.training.world import make_clip, sample_scene

TINY = Path(__file__).resolve().parents[1] / "assets" / "openltx-tiny-2.3.safetensors"
CPU = torch.device("cpu")
SIDE, FRAMES = 64, 9


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips with captions, and references of half the size."""
    folder = tmp_path_factory.mktemp("clips")
    (folder / "references").mkdir()
    for index in range(2):
        clip = make_clip(sample_scene(index), frames=17, height=SIDE, width=SIDE)
        sound = {"waveform": clip.waveform, "sample_rate": 16000}
        write_av(folder / f"{index}.mp4", [clip.frames], frame_rate=24, **sound)  # type: ignore[arg-type]
        (folder / f"{index}.txt").write_text(clip.caption, encoding="utf-8")
        write_av(folder / "references" / f"{index}.mp4", [clip.frames.flip(2)], frame_rate=24)
    return folder


def settings(clips: Path, output: Path, **sections: dict[str, Any]) -> LoraConfig:
    tables: dict[str, Any] = {
        "output": str(output),
        "model": {"checkpoint": str(TINY)},
        "data": {"folder": str(clips), "width": SIDE, "height": SIDE, "frames": FRAMES},
        "lora": {"rank": 2, "targets": ["attn1.to_q", "audio_attn1.to_v"]},
        "training": {"steps": 4, "precision": "float32", "learning_rate": 0.01, "save_every": 2, "device": "cpu"},
    }
    for name, values in sections.items():
        tables[name] = {**tables.get(name, {}), **values}
    return config_of(tables, name="a.toml", folder=clips)


@pytest.fixture(scope="module")
def finished(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> LoraConfig:
    """A whole run."""
    own = settings(
        clips, tmp_path_factory.mktemp("run") / "ball", samples={"every": 4, "steps": 2, "count": 1, "schedule": "even"}
    )
    trained = train_lora(own)
    assert (trained.steps, trained.rank) == (4, 2)
    assert set(trained.before) == set(trained.after) == {"video", "audio"}
    return own


def test_a_run_leaves_a_lora_states_and_samples(finished: LoraConfig) -> None:
    names = {path.relative_to(finished.output).as_posix() for path in finished.output.rglob("*") if path.is_file()}
    assert {"ball.safetensors", "ball_000002.safetensors", "ball_000004.safetensors"} <= names
    assert {"state/state_lora.safetensors", "samples/step_000004_1.mp4"} <= names
    info = video_info(finished.output / "samples" / "step_000004_1.mp4")
    assert (info.frames, info.height, info.width) == (FRAMES, SIDE, SIDE)
    last, step = (load_file(finished.output / f"ball{name}.safetensors") for name in ("", "_000004"))
    assert all(torch.equal(last[name], step[name]) for name in last)


def test_the_lora_changes_the_model_that_it_was_trained_on(finished: LoraConfig) -> None:
    adapted, report = with_lora(
        open_model(TINY, dtype=torch.float32), finished.output / "ball.safetensors", LoraStrengths()
    )
    assert report.applied == 2 * adapted.config.num_layers
    assert report.ignored == {}
    assert isinstance(adapted.transformer.on(CPU), Transformer)


def test_a_run_in_two_parts_ends_with_the_same_bits(finished: LoraConfig, clips: Path, tmp_path: Path) -> None:
    parts = replace(finished, output=tmp_path / "ball", samples=replace(finished.samples, every=0))
    shutil.copytree(finished.output / "cache", parts.output / "cache")

    def stop(what: str, done: int, total: int) -> None:
        if (what, done) == ("training", 1):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_lora(parts, watch=stop)
    train_lora(parts)
    for name in ("state/state_lora", "ball"):
        whole, other = (load_file(run.output / f"{name}.safetensors") for run in (finished, parts))
        assert whole.keys() == other.keys()
        assert all(torch.equal(whole[key], other[key]) for key in whole)


def test_a_run_with_other_settings_does_not_go_on(finished: LoraConfig) -> None:
    other = replace(finished, lora=replace(finished.lora, rank=3))
    with pytest.raises(ValueError, match=r"ball: expected lora.rank = 2 as the run there began, found 3; choose"):
        train_lora(other)


# the cache


def copied(clips: Path, folder: Path) -> Path:
    return Path(shutil.copytree(clips, folder))


def filled(config: LoraConfig) -> tuple[Cache, list[str]]:
    """The cache, and what had to be made."""
    made: list[str] = []
    return fill_cache(config, watch=lambda what, done, total: made.append(what), device=CPU, extra=("",)), made


def test_the_cache_is_used_again_until_a_file_changes(clips: Path, tmp_path: Path) -> None:
    folder = copied(clips, tmp_path / "clips")
    own = settings(folder, tmp_path / "run")
    first, made = filled(own)
    assert made == ["encoding clips"] * 2 + ["encoding captions"] * 3
    assert filled(own) == (first, [])
    (folder / "1.mp4").touch()
    assert filled(own)[1] == []
    shutil.copy(folder / "0.mp4", folder / "1.mp4")
    second, made = filled(own)
    assert made == []  # the very bytes of the other clip
    assert second.clips[1][0] == first.clips[0][0]
    (folder / "1.txt").write_text("something else", encoding="utf-8")
    assert filled(own)[1] == ["encoding captions"]
    shutil.copy(clips / "references" / "1.mp4", folder / "1.mp4")
    silent = replace(own, data=replace(own.data, audio=False))
    assert filled(silent)[1] == ["encoding clips"] * 2  # without sound they are other files


def test_latents_are_as_long_and_large_as_the_settings_say(clips: Path, tmp_path: Path) -> None:
    own = settings(
        clips,
        tmp_path / "run",
        data={"references": "references", "frames": 17},
        lora={"strategy": "v2v", "reference_downscale": 2, "reference_temporal": 2},
    )
    cache, _ = filled(own)
    latents = cache.latents(0)
    assert latents.audio is not None
    assert latents.reference is not None
    assert latents.video.shape == (1, 32, 3, 2, 2)
    assert latents.audio.shape == (1, 2, 18, 16)
    assert latents.reference.shape == (1, 32, 2, 1, 1)
    contexts = cache.contexts(cache.clips[0][1])
    assert contexts.video is not None
    assert torch.isfinite(contexts.video).all()


def test_no_more_of_a_file_is_read_than_is_used(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = torch.rand(60, 32, 32, 3, generator=torch.Generator().manual_seed(0))
    path = write_av(tmp_path / "long.mp4", [frames], frame_rate=24)
    read: list[int] = []
    whole = read_frames_at

    def counted(*arguments: Any, **options: Any) -> Tensor:
        found = whole(*arguments, **options)
        read.append(len(found))
        return found

    monkeypatch.setattr(precompute, "read_frames_at", counted)
    own = settings(clips, tmp_path / "run")
    assert torch.equal(precompute.read_clip(path, own), whole(path, 24.0)[:FRAMES])
    assert read[0] <= FRAMES + 24


def test_a_picture_is_a_clip_of_one_frame(clips: Path, tmp_path: Path) -> None:
    from PIL import Image

    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.new("RGB", (80, 70), "red").save(folder / "a.png")
    (folder / "a.txt").write_text("red", encoding="utf-8")
    own = settings(folder, tmp_path / "run", data={"frames": 1, "audio": False})
    cache, _ = filled(own)
    assert cache.latents(0).video.shape == (1, 32, 1, 2, 2)
    with pytest.raises(ValueError, match=r"a.png: expected sound, found a silent clip; leave it out, or set"):
        filled(settings(folder, tmp_path / "other", data={"frames": 1}))


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (lambda folder: (folder / "1.txt").unlink(), r"1.mp4: expected a caption in 1.txt"),
        (lambda folder: (folder / "0.mp4").write_bytes(b"no video"), r"0.mp4: expected a media file that can"),
        (
            lambda folder: shutil.copy(folder / "references" / "0.mp4", folder / "0.mp4"),
            r"0.mp4: expected sound, found",
        ),
    ],
)
def test_a_clip_that_cannot_be_used_is_named(spoil: Any, line: str, clips: Path, tmp_path: Path) -> None:
    folder = copied(clips, tmp_path / "clips")
    spoil(folder)
    with pytest.raises(ValueError, match=line) as error:
        filled(settings(folder, tmp_path / "run"))
    assert "\n" not in str(error.value)


def test_a_clip_that_is_too_short_is_named(clips: Path, tmp_path: Path) -> None:
    own = settings(clips, tmp_path / "run", data={"frames": 25})
    with pytest.raises(ValueError, match=r"0.mp4: expected at least 25 frames at 24 a second, found 17; leave it out"):
        filled(own)


def test_targets_and_files_are_checked_before_anything_is_encoded(clips: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"lora.targets: 'to_z' matches no linear layer; the nearest"):
        train_lora(settings(clips, tmp_path / "a", lora={"targets": ["to_z"]}))
    with pytest.raises(ValueError, match=r"training.device: 'nowhere' cannot be used here"):
        train_lora(settings(clips, tmp_path / "b", training={"device": "nowhere"}))
    assert not (tmp_path / "a").exists()
    sound = settings(clips, tmp_path / "c", data={"audio": False}, lora={"targets": ["audio_attn1.to_q"]})
    with pytest.raises(ValueError, match=r"lora.targets: expected layers of the video with data.audio = false, found"):
        train_lora(sound)


def test_parts_of_two_generations_are_refused(clips: Path, tmp_path: Path) -> None:
    other = Path(__file__).parent / "golden" / "video_vae" / "nad_decode_small.safetensors"
    own = settings(clips, tmp_path / "run", model={"video_vae": str(other)})
    with pytest.raises(ValueError, match=r"model.video_vae: expected LTX-2.3 like .*, found LTX-2.5"):
        filled(own)


# sampling of the other strategies, the command and the node


@pytest.mark.parametrize("strategy", ["i2v", "v2v"])
def test_the_other_strategies_train_and_show_samples(strategy: str, clips: Path, tmp_path: Path) -> None:
    """In bfloat16, as real checkpoints are trained."""
    sections: dict[str, dict[str, Any]] = {
        "lora": {"strategy": strategy},
        "training": {"steps": 2, "precision": "bfloat16"},
    }
    sections["samples"] = {"every": 2, "steps": 2, "count": 1, "schedule": "even"}
    if strategy == "v2v":
        sections["data"] = {"references": "references", "audio": False}
    trained = train_lora(settings(clips, tmp_path / strategy, **sections))
    assert (trained.path.parent / "samples" / "step_000002_1.mp4").is_file()
    assert set(trained.after) == ({"video"} if strategy == "v2v" else {"video", "audio"})
    names = {name.split(".")[3] for name in load_file(trained.path)}
    assert names == ({"attn1"} if strategy == "v2v" else {"attn1", "audio_attn1"})


CONFIG = """output = "ball"
[model]
checkpoint = {checkpoint}
[data]
folder = {folder}
width = 64
height = 64
frames = 9
[lora]
rank = 2
targets = ["attn1.to_q"]
[training]
steps = 2
precision = "float32"
device = "cpu"
"""


def test_the_command(clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "lora.toml"
    text = CONFIG.format(checkpoint=json.dumps(str(TINY)), folder=json.dumps(str(clips)))
    path.write_text(text.replace("rank", "rnk"), encoding="utf-8")
    assert main(["train", "lora", str(path)]) == 2
    assert "lora.toml: lora.rnk: no such key; the nearest is lora.rank" in capsys.readouterr().err
    path.write_text(text, encoding="utf-8")
    assert main(["train", "lora", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert Path(found["path"]) == tmp_path / "ball" / "ball.safetensors"
    assert found["steps"] == 2
    assert main(["inspect", found["path"]]) == 0
    assert "lora" in capsys.readouterr().out


@pytest.fixture
def output_folder(tmp_path: Path) -> Iterator[Path]:
    with use(Settings(output_folder=tmp_path, device="cpu")):
        yield tmp_path


def test_the_node(clips: Path, output_folder: Path) -> None:
    """Under the host's inference mode, as nodes run."""
    more = '[lora]\ntargets = ["attn1.to_q"]\n[training]\nprecision = "float32"\n'
    arguments = (TINY.name, INSIDE, str(clips), "ball", "t2v", "", SIDE, SIDE, FRAMES, 24.0, True, 2, 1, 1e-3, more)
    with torch.inference_mode():
        path, report = TrainLora.execute(*arguments).args
    assert Path(path) == output_folder / "training" / "ball" / "ball.safetensors"
    assert Path(path).is_file()
    assert "1 steps" in report
    with pytest.raises(ValueError, match="more: expected TOML, found a mistake"):
        TrainLora.execute(*arguments[:-1], "x =")


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"more": 'output = "/tmp/x"'}, "more: output is set by the node's own inputs"),
        ({"more": '[model]\nvideo_vae = "/tmp/x"'}, "more: model is set by"),
        ({"more": '[data]\nfolder = "/tmp/x"'}, "more: data.folder is set by"),
        ({"folder": ""}, "folder: expected the name of a folder with clips, found none"),
        ({"folder": "../nowhere"}, "input: expected a file or a folder"),
        ({"name": "../../x"}, "filename prefix: expected a name inside"),
        ({"video_vae": "../x.safetensors"}, "vae: expected"),
        ({"more": "[lora]\nrnk = 2"}, "settings: lora.rnk: no such key; the nearest is lora.rank"),
    ],
)
def test_the_node_stays_in_the_hosts_folders(
    changed: dict[str, Any], line: str, clips: Path, output_folder: Path
) -> None:
    given: dict[str, Any] = {
        **{"checkpoint": TINY.name, "text_encoder": INSIDE, "folder": str(clips), "name": "ball", "strategy": "t2v"},
        **{"references": "", "width": SIDE, "height": SIDE, "frames": FRAMES, "frame_rate": 24.0, "audio": True},
        **{"rank": 2, "steps": 1, "learning_rate": 1e-3, "more": ""},
    }
    with pytest.raises(ValueError, match=line):
        TrainLora.execute(**{**given, **changed})


def test_nothing_is_watched_by_default() -> None:
    ignored("training", 1, 2)
