"""What a saved file says of its making, and running it again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import openltx
from openltx.media.av_reader import read_tags
from openltx.media.av_writer import write_av
from openltx.nodes.host.standalone.settings import Settings, use
from openltx.nodes.manifest import differences, fingerprint, manifest, output_tags
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


def test_a_file_is_reproduced_to_the_bit(saved: Path) -> None:
    own = json.loads(read_tags(saved)["openltx"])
    assert "openltx-tiny-2.3.safetensors" in own["models"]
    found = reproduce(saved)
    assert found.same
    assert found.differences == ()


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
    one, same = manifest({}, frames, torch.zeros(2, 5)), manifest({}, frames.clone(), torch.zeros(2, 5))
    assert one == same
    assert manifest({}, frames + 1e-6, torch.zeros(2, 5)) != one


def test_the_save_node_passes_its_choices_on(tmp_path: Path) -> None:
    with use(Settings(output_folder=tmp_path)):
        audio = {"waveform": torch.zeros(1, 1, 4800), "sample_rate": 48000}
        shown = SaveAV.execute(torch.rand(5, 32, 32, 4), 24.0, "a", "mkv", audio, "ffv1", -1, "flac", "own").ui
        SaveAV.execute(torch.rand(5, 32, 32, 3), 24.0, "a", "gif", audio)
        with pytest.raises(ValueError, match="quality: expected 0 to 51"):
            SaveAV.execute(torch.rand(5, 32, 32, 3), 24.0, "a", "mp4", None, "h264", 60)
    assert shown is not None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a_00001_.mkv", "a_00002_.gif"]
