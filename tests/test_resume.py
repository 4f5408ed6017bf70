"""A run that is cut off goes on from its last finished step, with the same bits, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

import openltx
from openltx.media.texts import read_texts
from openltx.networks.transformer import Transformer
from openltx.nodes.conditioning import EncodePrompt
from openltx.nodes.content import NoContent, content_digest
from openltx.nodes.host.standalone.runtime import Call, Observer, calling
from openltx.nodes.host.standalone.settings import Settings, use
from openltx.nodes.host.state_folder import NAME, StateFolder
from openltx.nodes.latents import EmptyAVLatent, members
from openltx.nodes.load import INSIDE, LoadModel
from openltx.nodes.sample import Sample

SIGMAS = torch.tensor([1.0, 0.9, 0.6, 0.3, 0.0])
Calls = Callable[["int | None"], "list[int]"]


class Cut(Exception):
    """The moment at which a run is cut off, without a word to anybody."""


class Told(Observer):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warning(self, text: str) -> None:
        self.warnings.append(text)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Counts calls of the network; the one of the given number fails."""
    original = Transformer.forward

    def install(fails_at: int | None) -> list[int]:
        count = [0]

        def forward(network: Transformer, *arguments: Any, **options: Any) -> Any:
            count[0] += 1
            if count[0] == fails_at:
                raise Cut
            return original(network, *arguments, **options)

        monkeypatch.setattr(Transformer, "forward", forward)
        monkeypatch.setattr(Transformer, "shares_blocks", False)
        return count

    return install


class Stage:
    """One stage of the embedded model, as a node runs it."""

    def __init__(self) -> None:
        self.model, self.text, _, _ = LoadModel.execute("openltx-tiny-2.3.safetensors", INSIDE, "float32").args
        self.prompts: dict[str, Any] = {}

    @torch.inference_mode()
    def run(
        self,
        state: StateFolder | None,
        *,
        text: str = "a ball",
        width: int = 64,
        sigmas: Tensor = SIGMAS,
        seed: int = 3,
        keep_after: int = 0,
    ) -> tuple[list[Tensor], list[str]]:
        """Both streams' latents, and what the user was told."""
        if text not in self.prompts:
            self.prompts[text] = EncodePrompt.execute(self.text, text).args[0]
        told = Told()
        with use(Settings(state=state)), calling(Call(node_id="1", observer=told)):
            latent = EmptyAVLatent.execute(self.model, width, 64, 9, 24.0).args[0]
            made = Sample.execute(self.model, self.prompts[text], latent, sigmas, seed, 1.0, 1.0, keep_after=keep_after)
        return members(made.args[0]).present(), told.warnings


@pytest.fixture(scope="module")
def stage() -> Stage:
    return Stage()


@pytest.fixture(scope="module")
def whole(stage: Stage) -> list[Tensor]:
    return stage.run(None)[0]


def equal(found: list[Tensor], expected: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def cut(stage: Stage, folder: Path, calls: Calls, *, at: int) -> Path:
    """The state that a stage leaves when it ends in its `at`-th evaluation."""
    calls(at)
    with pytest.raises(Cut):
        stage.run(StateFolder(folder))
    (state,) = (folder / NAME).iterdir()
    return state


def test_it_goes_on_after_the_last_step_with_the_same_bits(
    stage: Stage, whole: list[Tensor], tmp_path: Path, calls: Calls
) -> None:
    assert cut(stage, tmp_path, calls, at=3).name.endswith(".step.safetensors")
    rest, state = calls(None), StateFolder(tmp_path)
    found, told = stage.run(state)
    assert equal(found, whole)
    assert rest[0] == 2
    assert told == ["going on after step 2 of 4, as an earlier run has left it"]
    state.clean()
    assert not (tmp_path / NAME).exists()


def test_a_finished_stage_is_not_run_again(stage: Stage, whole: list[Tensor], tmp_path: Path, calls: Calls) -> None:
    stage.run(StateFolder(tmp_path))
    assert [path.name.split(".", 1)[1] for path in (tmp_path / NAME).iterdir()] == ["done.safetensors"]
    rest = calls(None)
    assert equal(stage.run(StateFolder(tmp_path))[0], whole)
    assert rest[0] == 0


def test_without_the_word_it_begins_anew_and_says_so(
    stage: Stage, whole: list[Tensor], tmp_path: Path, calls: Calls
) -> None:
    cut(stage, tmp_path, calls, at=3)
    rest = calls(None)
    found, told = stage.run(StateFolder(tmp_path, resume=False))
    assert equal(found, whole)
    assert rest[0] == 4
    assert len(told) == 1
    assert "--resume goes on from them" in told[0]


@pytest.mark.parametrize(
    "other", [{"seed": 11}, {"text": "a blue ball"}, {"sigmas": torch.tensor([1.0, 0.5, 0.0])}, {"width": 96}]
)
def test_other_work_is_not_taken_for_it(stage: Stage, tmp_path: Path, other: dict[str, Any], calls: Calls) -> None:
    cut(stage, tmp_path, calls, at=3)
    rest = calls(None)
    assert stage.run(StateFolder(tmp_path), **other)[1] == []
    assert rest[0] == len(other.get("sigmas", SIGMAS)) - 1
    assert len(list((tmp_path / NAME).glob("*.step.*"))) == 1  # of the other work, which may be gone on with still


@pytest.mark.parametrize(("node", "host", "kept"), [(60, None, 0), (60, 0, 1), (-1, None, 0), (0, -1, 0), (0, None, 1)])
def test_what_is_kept(stage: Stage, tmp_path: Path, node: int, host: float | None, kept: int) -> None:
    """Work that is long enough: in the node's word, or the host's own."""
    stage.run(StateFolder(tmp_path, after=host), keep_after=node)
    assert len(list(tmp_path.glob(f"{NAME}/*"))) == kept


def test_a_long_clip_goes_on_in_its_segment(tmp_path: Path, calls: Calls) -> None:
    every = calls(None)

    def made(folder: str, **more: Any) -> Any:
        (tmp_path / folder).mkdir(exist_ok=True)
        place = {"output_folder": tmp_path / folder, "keep_after": 0}
        sizes = {"width": 64, "height": 64, "frames": 33, "segment": 0.7, "overlap": 0.3}
        return result_of(openltx.run("long_clip", **place, **sizes, **more).files[0])

    expected, total = made("whole"), every[0]
    calls(total - 1)
    with pytest.raises(RuntimeError, match="Cut"):
        made("cut")
    kept = sorted(path.name.split(".")[1] for path in (tmp_path / "cut" / NAME).iterdir())
    assert kept[0] == "done"  # a finished segment
    rest = calls(None)
    assert made("cut", resume=True) == expected
    assert rest[0] <= total // 2
    assert not (tmp_path / "cut" / NAME).exists()


def _shortened(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def _of_another_shape(path: Path) -> None:
    _changed(path, lambda tensors, told: tensors.update({"after.video": torch.zeros(1, 2, 3)}))


def _not_finite(path: Path) -> None:
    _changed(path, lambda tensors, told: tensors["before.video"].fill_(float("nan")))


def _without_a_part(path: Path) -> None:
    _changed(path, lambda tensors, told: tensors.pop("evaluations.0.x0.audio"))


def _of_a_step_beyond(path: Path) -> None:
    _changed(path, lambda tensors, told: told.update(index=10**30))


def _deeply_nested(path: Path) -> None:
    save_file(load_file(path), path, {"openltx_state": "[" * 100_000})


def _of_another_stage(path: Path) -> None:
    _changed(path, lambda tensors, told: told.update(key="0" * 64))


def _changed(path: Path, change: Callable[[dict[str, Any], dict[str, Any]], Any]) -> None:
    with safe_open(path, "pt") as file:
        told = json.loads(file.metadata()["openltx_state"])
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    change(tensors, told)
    save_file(tensors, path, {"openltx_state": json.dumps(told)})


DAMAGES = (
    *(_shortened, _of_another_shape, _not_finite, _without_a_part, _of_a_step_beyond, _deeply_nested),
    _of_another_stage,
)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_state_is_one_line_and_the_stage_begins_anew(
    stage: Stage, whole: list[Tensor], tmp_path: Path, damage: Callable[[Path], None], calls: Calls
) -> None:
    damage(cut(stage, tmp_path, calls, at=4))
    rest, state = calls(None), StateFolder(tmp_path)
    found, told = stage.run(state)
    assert equal(found, whole)
    assert rest[0] == 4
    assert len(told) == 1
    assert told[0].startswith("finished steps of an earlier run cannot be used (")
    assert len(told[0]) < 600
    state.clean()
    assert not (tmp_path / NAME).exists()


def test_a_full_folder_is_told_once_and_the_stage_goes_on(stage: Stage, whole: list[Tensor], tmp_path: Path) -> None:
    found, told = stage.run(StateFolder(tmp_path, most=1000))
    assert equal(found, whole)
    assert len(told) == 1
    assert "would hold more than" in told[0]


def result_of(file: Path) -> Any:
    """Digests of latents, frames and sound."""
    return json.loads(read_texts(file)["openltx"])["result"]


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 as POSIX has it")
def test_a_process_that_is_killed_is_gone_on_with(tmp_path: Path) -> None:
    sizes: dict[str, Any] = {"width": 64, "height": 64, "frames": 9, "steps": 4}
    expected = openltx.run(prompt="a red ball", output=tmp_path / "whole.mp4", **sizes).files[0]
    target = tmp_path / "ball.mp4"
    command = [sys.executable, "-m", "openltx", "generate", "a red ball", "-o", str(target), "--keep-after", "0"]
    command += [word for name, value in sizes.items() for word in (f"--{name}", str(value))]
    # sums of several threads have other last bits than those of one, and earlier tests may have set their number here
    alike = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=alike)
    limit = time.monotonic() + 120
    while not list(tmp_path.glob(f"{NAME}/*.step.safetensors")) and process.poll() is None:
        assert time.monotonic() < limit
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not target.exists()
    subprocess.run([*command, "--resume"], check=True, capture_output=True, timeout=240, env=alike)
    assert result_of(target) == result_of(expected)
    assert sorted(os.listdir(tmp_path)) == ["ball.mp4", "whole.mp4"]


def test_states_that_nobody_came_back_for_are_swept(tmp_path: Path) -> None:
    states = StateFolder(tmp_path)
    (tmp_path / NAME).mkdir()
    old, half, fresh = (tmp_path / NAME / name for name in ("a.step.safetensors", "b.part", "c.done.safetensors"))
    for path, age in ((old, 8 * 86400), (half, 7200), (fresh, 3600)):
        path.write_bytes(b"x")
        os.utime(path, (time.time() - age,) * 2)
    assert states.put("d", "step", 1, Path.touch) is None
    assert sorted(path.name for path in (tmp_path / NAME).iterdir()) == ["c.done.safetensors", "d.step.safetensors"]


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"a file is in the way")
    problem = StateFolder(tmp_path).put("a", "step", 1, lambda path: None)
    assert problem is not None
    assert "cannot be written" in problem


def test_content_tells_types_and_values_apart() -> None:
    values: list[Any] = [
        1,
        1.0,
        True,
        "1",
        None,
        [1],
        {"1": 1},
        {1},
        torch.tensor(1),
        torch.tensor(1.0),
        (1, 1),
        [[1], 1],
    ]
    assert len({content_digest(value) for value in values}) == len(values)
    assert content_digest({"a": 1, "b": torch.ones(2)}) == content_digest({"b": torch.ones(2), "a": 1})
    assert content_digest(torch.zeros(2, 3)) != content_digest(torch.zeros(3, 2))
    assert content_digest(0.0) != content_digest(-0.0)
    with pytest.raises(NoContent, match="object"):
        content_digest([object()])


def test_a_stage_whose_content_cannot_be_told_is_not_kept_and_says_so_once(
    stage: Stage, whole: list[Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(stage.model.transformer), "patches", "by others")
    found, told = stage.run(StateFolder(tmp_path))
    assert equal(found, whole)
    assert told == ["finished steps are not kept for resuming: they depend on a model that other nodes have changed"]
    assert stage.run(StateFolder(tmp_path), keep_after=60)[1] == []  # a short one needs no word
    assert list(tmp_path.iterdir()) == []
