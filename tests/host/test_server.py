"""Contract test 3: ComfyUI's server with our pack: it loads, describes the nodes, runs a workflow, and stops one."""

from __future__ import annotations

import json
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from openltx.api import load_workflow
from openltx.nodes.host.standalone.info import info

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def server(contract_server: Any) -> Any:
    return contract_server


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs, "_meta": {"title": class_type}}


def test_packs_load(server: Any) -> None:
    assert "IMPORT FAILED" not in server.log.read_text()


def test_object_info(server: Any, our_nodes: list[type[Any]]) -> None:
    offered = server.get("/object_info")
    assert "ToyEverything" in offered
    for ours in our_nodes:
        mine = json.loads(json.dumps(info(ours)))
        entry = offered[mine["name"]]
        assert entry["python_module"] == "custom_nodes.Open-LTX.dev"
        assert {key: entry[key] for key in mine if key != "input"} == {key: mine[key] for key in mine if key != "input"}


def test_workflow(server: Any) -> None:
    prompt = {
        "l": node("ToyLatent", seed=5),
        "d": node("ToyDigest", latent=["l", 0]),
        "s": node("ToySave", text=["d", 0], prefix="toy/clip"),
    }
    result = server.result(server.queue(prompt))
    assert result["status"]["status_str"] == "success"
    assert result["outputs"]["s"]["images"] == [{"filename": "clip_00001_.txt", "subfolder": "toy", "type": "output"}]
    assert (server.base / "output" / "toy" / "clip_00001_.txt").read_text().endswith("True (1, 4, 2, 3, 3) 5 None")


def test_a_workflow_with_a_former_node_id_still_runs(server: Any) -> None:
    assert server.get("/node_replacements")["ToyFormerLatent"][0]["old_widget_ids"] == ["former_seed"]
    former, present = node("ToyFormerLatent", former_seed=6), node("ToyLatent", seed=6)
    assert _digest(server, former, "former") == _digest(server, present, "present")
    assert _digest(server, former, "again") != _digest(server, node("ToyLatent", seed=7), "other")


def _digest(server: Any, latent: dict[str, Any], name: str) -> str:
    prompt = {"l": latent, "d": node("ToyDigest", latent=["l", 0]), "s": node("ToySave", text=["d", 0], prefix=name)}
    result = server.result(server.queue(prompt))
    assert result["status"]["status_str"] == "success"
    return str((server.base / "output" / f"{name}_00001_.txt").read_text())


def test_interrupt(server: Any) -> None:
    prompt_id = server.queue({"n": node("ToySlow", silent=False), "show": node("ToyShow", value=["n", 0])})
    server.wait(lambda: server.get("/queue")["queue_running"], "the running workflow")
    time.sleep(0.2)  # the executor clears the flag when it starts a workflow
    server.post("/interrupt", {})
    messages = [message[0] for message in server.result(prompt_id)["status"]["messages"]]
    assert "execution_interrupted" in messages


def test_another_seed_does_not_encode_the_text_again(server: Any) -> None:
    prompt = load_workflow("text_to_av")
    by_type = {entry["class_type"]: node_id for node_id, entry in prompt.items()}
    prompt[by_type["OpenLTXEmptyAVLatent"]]["inputs"] |= {"width": 64, "height": 64, "frames": 9}
    prompt[by_type["OpenLTXSchedule"]]["inputs"]["steps"] = 1
    for seed in (1, 2):
        prompt[by_type["OpenLTXSample"]]["inputs"]["noise_seed"] = seed
        result = server.result(server.queue(prompt))
        assert result["status"]["status_str"] == "success"
    cached = dict(result["status"]["messages"])["execution_cached"]["nodes"]
    texts = {node_id for node_id, entry in prompt.items() if entry["class_type"] == "OpenLTXEncodePrompt"}
    assert texts | {by_type["OpenLTXLoadModel"]} <= set(cached)
    assert by_type["OpenLTXSample"] not in cached


def test_help_pages_and_languages_are_served(server: Any) -> None:
    pages = sorted((ROOT / "web" / "docs").glob("OpenLTX*.md"))
    assert pages
    for page in pages:
        address = f"{server.address}/extensions/Open-LTX.dev/docs/{page.name}"
        with urllib.request.urlopen(address, timeout=10) as answer:
            assert answer.read() == page.read_bytes()
    texts = server.get("/i18n")
    for language in ("en", "zh", "ja", "ko"):
        ours = json.loads((ROOT / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))
        served = texts[language]["nodeDefs"]
        assert ours
        assert {name: served[name] for name in ours} == ours
