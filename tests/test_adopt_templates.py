"""Core's own LTX-2 templates, where they are (adopt_templates.py): converted, and run without ComfyUI."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from openltx.adopt import Adopted, adopt, read_file
from openltx.adopt.constants import folded
from openltx.adopt.embedded import embedded
from openltx.adopt.graph import Found
from openltx.nodes.core import CORE_NODES
from openltx.nodes.host.standalone import executor
from openltx.nodes.host.standalone.schema import registry_of
from openltx.nodes.host.standalone.settings import Settings, model_folders_below
from openltx.nodes.host.standalone.validate import validate
from openltx.nodes.registry import NODES
from openltx.tests import adopt_templates as templates

REGISTRY = registry_of([*NODES, *CORE_NODES])
FILE = re.compile(r"found '[^']*[.](safetensors|gguf|png|jpg|mp4|wav|mp3)'$")
HERE = Path(__file__).resolve().parent


FOUND, LTX2 = templates.found(), templates.of_ltx2()
pytestmark = pytest.mark.skipif(not FOUND, reason=templates.ABSENT)


def adopted(path: Path) -> Adopted:
    return adopt(read_file(path), REGISTRY, name=path.stem)


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.stem)
def test_template(path: Path) -> None:
    """Converted without a stop; what the built-in host has all nodes for, it finds nothing wrong with but files."""
    result = adopted(path)
    assert result.report.lines()
    assert json.loads(json.dumps([result.ui, result.prompt])) == [result.ui, result.prompt]
    assert all(entry.note for entry in result.report.entries if entry.kind == "unmapped")
    kinds = [entry["class_type"] for entry in result.prompt.values()]
    if path.stem in (*templates.OLDER, *templates.OTHERS):
        assert not any(kind.startswith("OpenLTXSample") for kind in kinds)
        return
    if path.stem.startswith(templates.SERVICE):
        assert result.report.count("unmapped") == 1
        return
    assert "OpenLTXSampleStage" in kinds
    assert "OpenLTXSaveAV" in kinds
    assert result.report.preset.startswith("community")
    if not result.report.standalone:
        assert [text for text in validate(result.prompt, REGISTRY).problems if not FILE.search(text)] == []


def test_all_generations_are_among_them() -> None:
    names = " ".join(path.stem for path in FOUND)
    assert all(text in names for text in ("video_ltx2_t2v", "video_ltx2_3_t2v", "video_ltx2_5_t2v"))


def test_most_run_without_comfyui() -> None:
    """Others need nodes of other models (depth) or of a service."""
    apart = {path.stem for path in LTX2 if adopted(path).report.standalone}
    assert apart == {
        "template_image_speech_to_video",
        "video_ltx2_3_ic_lora",
        "video_ltx2_depth_to_video",
    }


KEPT = executor.Cache()  # the model is loaded once


@pytest.mark.parametrize("path", LTX2, ids=lambda path: path.stem)
def test_a_small_version_runs_in_the_built_in_host(path: Path, tmp_path: Path) -> None:
    small = adopt(Found(graph=embedded(folded(read_file(path).graph)[0]), form="UI"), REGISTRY, name=path.stem)
    assert not small.report.standalone
    place = Settings(output_folder=tmp_path, model_folders=model_folders_below(tmp_path), metadata=False)
    results = executor.run(small.prompt, REGISTRY, settings=place, keep=KEPT)
    assert all(result.ui for result in results.values())
