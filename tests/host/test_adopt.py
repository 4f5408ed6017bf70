"""Adopted workflows in ComfyUI, and what they make beside ComfyUI's own run of the old ones."""

from __future__ import annotations

import importlib
import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from openltx.tests import adopt_graphs as OURS
from openltx.tests import adopt_templates as TEMPLATES

HERE = Path(__file__).resolve().parent


GRAPHS = OURS.GRAPHS
EQUAL = 1e-5
NEWER = {"CreateVideo": {"color_space"}, "ComfyMathExpression": {"values"}}  # inputs of later versions
SAME = [
    "text_to_video", "distilled", "image_to_video", "image_at_part_strength", "two_stages", "gradient_estimation",
    "first_and_last", "guide_at_part_strength", "two_guides_at_part_strength", "ic_lora",
    "reference_voice", "audio_to_video", "masked_video", "ksampler", "simple_scheduler",
    "two_stages_ancestral",
]  # fmt: skip


@pytest.fixture
def registry() -> Any:
    from openltx.nodes.core import CORE_NODES
    from openltx.nodes.host.standalone.schema import registry_of
    from openltx.nodes.registry import NODES

    return registry_of([*NODES, *CORE_NODES])


@pytest.fixture(autouse=True)
def _inputs(comfyui_base: Path) -> None:
    """Core's loaders look into ComfyUI's input folder only."""
    for path in (HERE.parents[1] / "workflows" / "input").iterdir():
        (comfyui_base / "input").mkdir(exist_ok=True)
        shutil.copy(path, comfyui_base / "input")


def latents(found: Any) -> list[torch.Tensor]:
    samples = found["samples"]
    return list(samples.unbind()) if getattr(samples, "is_nested", False) else [samples]


@pytest.mark.parametrize("name", SAME)
def test_the_latents_are_cores(graphs: Any, registry: Any, name: str) -> None:
    from openltx.adopt import read_workflow
    from openltx.adopt.check import check_of

    differences = _compared(graphs, check_of(read_workflow(OURS.api(GRAPHS[name]()), name), registry, name=name))
    print(name, differences)  # for people who run this with -s
    assert max(differences) <= EQUAL


@pytest.mark.parametrize("name", [name for name in GRAPHS if name != "unknown_pack"])
def test_it_runs_in_comfyui(graphs: Any, registry: Any, name: str) -> None:
    """The adopted graph, small, in ComfyUI's own executor, to its savers."""
    from openltx.adopt import adopt, read_workflow
    from openltx.adopt.constants import folded
    from openltx.adopt.embedded import embedded
    from openltx.adopt.graph import Found

    found = read_workflow(OURS.api(GRAPHS[name]()), name)
    small = adopt(Found(graph=embedded(folded(found.graph)[0]), form="API"), registry, name=name)
    ok, error, outputs = graphs.executor.validate(small.prompt)
    assert ok, error
    ended, text, ui = graphs.executor.run(small.prompt, outputs)
    assert ended == "success", text
    assert any(ui.values())


def test_the_tables_core_rows_name_cores_inputs(comfyui_base: Path, graphs: Any) -> None:
    """Every row of a core node that this ComfyUI has: its sockets and widgets are that node's."""
    from openltx.adopt.table import rows

    nodes = importlib.import_module("nodes").NODE_CLASS_MAPPINGS
    checked = 0
    for name, row in rows().items():
        if row.pack != "core" or name not in nodes:
            continue
        groups = nodes[name].INPUT_TYPES()
        known = {key for group in ("required", "optional") for key in groups.get(group, {})}
        named = {word.split(".")[0] for word in (*row.inputs, *(one for one in row.widgets if isinstance(one, str)))}
        assert named - NEWER.get(name, set()) <= known, name
        checked += 1
    assert checked > 70


def test_schedulers_are_comfyuis(graphs: Any, side: Any) -> None:
    from openltx.adopt.schedules import SCHEDULERS, named_sigmas_of

    for name in SCHEDULERS:
        for steps, denoise in ((1, 1.0), (8, 1.0), (20, 0.6)):
            inputs = {"model": ["load", 0], "scheduler": name, "steps": steps, "denoise": denoise}
            graph = {**side.stage(), "theirs": side.node("BasicScheduler", **inputs)}
            if name == "beta" and importlib.util.find_spec("scipy") is None:
                continue
            expected = graphs.run(graph, ("theirs", 0))
            found = torch.tensor(named_sigmas_of(name, steps, denoise))
            assert found.shape == expected.shape, (name, steps)
            assert torch.allclose(found, expected, atol=2e-6), (name, steps)


def test_a_check_from_the_command_line(
    comfyui_checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Guides of core among it, which takes latents of the published width only."""
    from openltx.cli import main

    monkeypatch.chdir(tmp_path)
    Path("old.json").write_text(json.dumps(OURS.api(GRAPHS["first_and_last"]())), encoding="utf-8")
    assert main(["adopt", "old.json", "--check", "--json", "--comfyui", str(comfyui_checkout)]) == 0
    shown = json.loads(capsys.readouterr().out)
    (difference,) = shown["check"].values()
    assert difference <= EQUAL, shown["check"]


@pytest.mark.skipif(not TEMPLATES.found(), reason=TEMPLATES.ABSENT)
@pytest.mark.parametrize("path", TEMPLATES.of_ltx2(), ids=lambda path: path.stem)
def test_a_template_runs_and_its_latents_are_cores_or_the_report_says_why(
    graphs: Any, registry: Any, told: list[str], path: Path
) -> None:
    from openltx.adopt import read_file
    from openltx.adopt.check import check_of

    check = check_of(read_file(path), registry, name=path.stem)
    ok, error, outputs = graphs.executor.validate(check.new.prompt)
    assert ok, error
    ended, text, _ = graphs.executor.run(check.new.prompt, outputs)
    assert ended == "success", text
    known = importlib.import_module("nodes").NODE_CLASS_MAPPINGS
    newer = {entry["class_type"] for entry in check.old.values()} - set(known)
    if newer:
        told.append(f"{path.stem}: runs; nothing to compare with, this ComfyUI has no {', '.join(sorted(newer))}")
        return
    differences = _compared(graphs, check)
    named = check.new.report.differences
    shown = ", ".join(f"{value:.1e}" for value in differences)
    told.append(f"{path.stem}: runs; stages differ by {shown}" + (f"; named: {len(named)} reasons" if named else ""))
    assert max(differences) <= EQUAL or named


def _compared(graphs: Any, check: Any) -> list[float]:
    """The largest difference of each stage's latents."""
    from openltx.adopt.check import difference
    from openltx.adopt.check_pack import PACK, for_small_latents

    pack: dict[str, Any] = {}
    exec(PACK, pack)  # in a check ComfyUI loads it
    importlib.import_module("nodes").NODE_CLASS_MAPPINGS.update(pack["NODE_CLASS_MAPPINGS"])
    old = graphs.run(for_small_latents(check.old), *(pair.old for pair in check.pairs))
    new = graphs.run(check.new.prompt, *(pair.new for pair in check.pairs))
    pairs = [(old, new)] if len(check.pairs) == 1 else zip(old, new, strict=True)
    found = [(latents(one), latents(other)) for one, other in pairs]
    assert all(float(stream.abs().max()) > 0.1 for one, other in found for stream in (*one, *other)), "nothing was made"
    return [difference(one, other) for one, other in found]
