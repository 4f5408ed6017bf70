"""The demonstration of a new concept, in miniature: it runs from one command; what it says follows from its figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from openltx.training.judge import ATTRIBUTES
from openltx.training.lora_concept import Plan, configuration, main, new_scenes, verdict, write_dataset

SMALL = ["--new", "1", "--known", "1", "--judged", "1", "--frames", "9", "--steps", "2", "--batch", "1"]


def test_it_runs_in_one_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["--out", str(tmp_path), *SMALL, "--rank", "2", "--denoising-steps", "2"])
    found = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    assert code == (0 if found["learnt"] and found["kept"] else 1)
    assert found["training"]["steps"] == 2
    assert set(found["figures"]) == {"new", "known"}
    assert {"without", "with"} == set(found["figures"]["new"])
    assert "learnt: " in capsys.readouterr().out
    for name in ("new_with.png", "known_without.png", "orange/orange.safetensors", "clips/new_000.txt"):
        assert (tmp_path / name).is_file(), name


def test_the_dataset_shows_the_new_colour_beside_known_ones(tmp_path: Path) -> None:
    plan = Plan(new=2, known=1, frames=9)
    assert write_dataset(tmp_path, plan) == 3
    assert "orange" in (tmp_path / "new_001.txt").read_text(encoding="utf-8")
    assert "orange" not in (tmp_path / "known_000.txt").read_text(encoding="utf-8")
    assert not {s.start for s in new_scenes(8)} & {s.start for s in new_scenes(8, held_out=True)}
    assert configuration(tmp_path / "x.safetensors", tmp_path, plan).data.frames == 9


@pytest.mark.parametrize(
    ("orange", "known", "expected"),
    [
        ((0.0, 0.95), (0.9, 0.88), (True, True)),
        ((0.0, 0.5), (0.9, 0.9), (False, True)),
        ((0.9, 0.95), (0.9, 0.9), (False, True)),  # it was there before: nothing was learnt
        ((0.0, 0.95), (0.9, 0.8), (True, False)),
    ],
)
def test_its_verdict(orange: tuple[float, float], known: tuple[float, float], expected: tuple[bool, bool]) -> None:
    def row(value: float) -> dict[str, float]:
        return dict.fromkeys(ATTRIBUTES, value)

    figures = {
        "new": {"without": row(orange[0]), "with": row(orange[1])},
        "known": {"without": row(known[0]), "with": row(known[1])},
    }
    assert tuple(verdict(figures).values()) == expected
