"""`openltx adopt`, and adopted workflows in the built-in host on the embedded model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from openltx.adopt import adopt, read_workflow
from openltx.adopt.constants import folded
from openltx.adopt.embedded import embedded
from openltx.adopt.graph import Found
from openltx.cli import main
from openltx.nodes.core import CORE_NODES
from openltx.nodes.host.standalone import executor
from openltx.nodes.host.standalone.schema import registry_of
from openltx.nodes.host.standalone.settings import Settings, model_folders_below
from openltx.nodes.registry import NODES
from openltx.tests import adopt_graphs as graphs

HERE = Path(__file__).resolve().parent
REGISTRY = registry_of([*NODES, *CORE_NODES])


KEPT = executor.Cache()  # the model is loaded once


def written(folder: Path, name: str) -> Path:
    path = folder / f"{name}.json"
    path.write_text(json.dumps(graphs.api(graphs.GRAPHS[name]())), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", [name for name in graphs.GRAPHS if name != "unknown_pack"])
def test_it_runs_in_the_built_in_host(name: str, tmp_path: Path) -> None:
    found = read_workflow(graphs.api(graphs.GRAPHS[name]()), name)
    small = adopt(Found(graph=embedded(folded(found.graph)[0]), form="API"), REGISTRY, name=name)
    assert not small.report.standalone
    place = Settings(output_folder=tmp_path, model_folders=model_folders_below(tmp_path), metadata=False)
    results = executor.run(small.prompt, REGISTRY, settings=place, keep=KEPT)
    assert all(result.ui for result in results.values())


def test_three_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["adopt", str(written(tmp_path, "two_stages")), "-o", str(tmp_path / "new.json")]) == 0
    text = capsys.readouterr().out
    assert "SamplerCustomAdvanced (node stage) -> Sample Stage (LTX)" in text
    assert "preset: community" in text
    assert "runs in: ComfyUI and openltx run" in text
    assert (tmp_path / "new.report.txt").read_text(encoding="utf-8").strip() in text
    assert json.loads((tmp_path / "new.json").read_text(encoding="utf-8"))["version"] == 0.4
    prompt = json.loads((tmp_path / "new.api.json").read_text(encoding="utf-8"))
    assert "OpenLTXSampleStage" in {entry["class_type"] for entry in prompt.values()}


def test_as_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["adopt", str(written(tmp_path, "unknown_pack")), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["files"] == [
        "unknown_pack.openltx.json",
        "unknown_pack.openltx.api.json",
        "unknown_pack.openltx.report.txt",
    ]
    assert shown["report"]["standalone_reason"] == "SomebodysNode"
    assert [entry["node"] for entry in shown["report"]["entries"] if entry["kind"] == "unmapped"] == [
        "SomebodysNode (node theirs)"
    ]


def test_out_of_a_clip_and_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What ComfyUI writes into its files: `prompt` and `workflow`."""
    from PIL import Image, PngImagePlugin

    from openltx.media.av_writer import Encoding, write_av

    texts = PngImagePlugin.PngInfo()
    texts.add_text("prompt", json.dumps(graphs.api(graphs.distilled())))
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png", pnginfo=texts)
    import torch

    tags = {"prompt": json.dumps(graphs.api(graphs.two_stages()))}
    for name in ("b.mp4", "c.webm"):
        write_av(
            tmp_path / name,
            iter([torch.zeros(2, 64, 64, 3)]),
            frame_rate=24.0,
            waveform=None,
            sample_rate=48000,
            encoding=Encoding(),
            tags=tags,
        )
    for name in ("a.png", "b.mp4", "c.webm"):
        assert main(["adopt", str(tmp_path / name), "-o", str(tmp_path / "out")]) == 0
        assert "Sample Stage (LTX)" in capsys.readouterr().out


@pytest.mark.parametrize(("words", "expected"), [
    (["none.json"], "no such file"),
    (["bad.json"], "expected JSON"),
    (["good.json", "-o", "no/folder/x"], "no such folder"),
    (["good.json", "--check"], "expected a ComfyUI checkout"),
])  # fmt: skip
def test_mistakes_are_one_line(
    words: list[str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    (tmp_path / "bad.json").write_text("{", encoding="utf-8")
    written(tmp_path, "distilled").rename(tmp_path / "good.json")
    assert main(["adopt", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line
