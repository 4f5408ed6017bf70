"""Contract test 1: what our host says of a node is what ComfyUI says of the same class."""

from __future__ import annotations

import importlib
import inspect
import json
from pathlib import Path
from typing import Any

from openltx.nodes.host.standalone.info import info
from openltx.nodes.host.standalone.schema import overrides, schema_of
from openltx.nodes.host.standalone.settings import Settings, model_folders_below, use


def _assert_equal(ours: list[type[Any]], theirs: list[type[Any]]) -> None:
    entries = {node.GET_SCHEMA().node_id: json.loads(json.dumps(node.GET_NODE_INFO_V1())) for node in theirs}
    for node in ours:
        mine = json.loads(json.dumps(info(node)))
        entry = entries[mine["name"]]
        assert mine == {key: entry[key] for key in mine}, mine["name"]
        assert set(entry) - set(mine) <= {"python_module"}, "ComfyUI's entry has keys that ours lacks"


def test_what_nodes_show(comfyui_base: Path) -> None:
    """Both sides' `ui` classes give the interface the same."""
    sides = [importlib.import_module(f"{package}.nodes.host.api") for package in ("openltx", "openltx_in_comfyui")]
    shown = []
    for side in sides:
        ui, folder = side.ui, side.io.FolderType.output
        saved = ui.SavedResult("a.mp4", "sub", folder)
        parts = [ui.SavedImages([saved]), ui.SavedImages([saved], is_animated=True), ui.SavedAudios([saved])]
        parts += [ui.PreviewVideo([saved]), ui.PreviewText("word")]
        shown.append([part.as_dict() for part in parts])
    assert shown[0] == shown[1]


def test_toy_nodes(both_hosts: Any) -> None:
    standalone, comfyui = both_hosts
    _assert_equal(standalone.nodes, comfyui.nodes)


def test_our_nodes(comfyui_base: Path, our_nodes: list[type[Any]]) -> None:
    theirs = importlib.import_module("openltx_in_comfyui.nodes.registry").NODES
    folders = model_folders_below(comfyui_base / "models")  # both list the same files, whatever other tests put there
    with use(Settings(model_folders=folders, input_folder=comfyui_base / "input")):
        _assert_equal(our_nodes, theirs)


def test_nodes_that_ask_for_their_id_are_not_idempotent(our_nodes: list[type[Any]]) -> None:
    """ComfyUI would give two equal ones the first one's result (comfyui_host.md 1.3)."""
    for node in our_nodes:
        schema = schema_of(node)
        asks = "unique_id" in {hidden.name for hidden in schema.hidden}
        assert not asks or schema.not_idempotent, schema.node_id


def test_checks_of_our_nodes_name_no_ranged_input(our_nodes: list[type[Any]]) -> None:
    """ComfyUI switches its range checks off for the inputs that `validate_inputs` names."""
    for node in our_nodes:
        if overrides(node, "validate_inputs"):
            names = set(inspect.signature(node.validate_inputs).parameters)
            ranged = {given.id for given in schema_of(node).inputs if getattr(given, "min", None) is not None}
            assert not names & ranged, schema_of(node).node_id
