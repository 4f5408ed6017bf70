"""Workflows with former node ids run under the present ones."""

from __future__ import annotations

import copy
from typing import Any

from openltx.nodes.host.replaced import REPLACED, Replacement, with_replacements
from openltx.nodes.host.standalone.schema import registry_of
from openltx.nodes.registry import NODES

KNOWN = registry_of(NODES)
TABLE = (
    Replacement(
        old="OpenLTXFormer",
        new="OpenLTXSampler",
        inputs={"rule": "kind", "eta": "share"},
        values={"gamma": 2.0},
        outputs={1: 0},
    ),
)
PROMPT: dict[str, Any] = {
    "1": {
        "class_type": "OpenLTXFormer",
        "inputs": {"kind": "euler", "gone": 3},
        "_meta": {"title": "Rule", "expose": {"rule": "kind"}},
    },
    "2": {"class_type": "OpenLTXScaleSteps", "inputs": {"sampler": ["1", 1], "video_factors": ""}},
}


def test_inputs_outputs_and_exposed_names_follow_the_table() -> None:
    given = copy.deepcopy(PROMPT)
    found = with_replacements(given, KNOWN, TABLE)
    assert given == PROMPT
    assert found["1"]["class_type"] == "OpenLTXSampler"
    assert found["1"]["inputs"] == {"rule": "euler", "gamma": 2.0}
    assert found["1"]["_meta"] == {"title": "Rule", "expose": {"rule": "rule"}}
    assert found["2"]["inputs"] == {"sampler": ["1", 0], "video_factors": ""}


def test_a_node_that_still_exists_and_one_without_replacement_stay_as_they_are() -> None:
    assert with_replacements(PROMPT, {*KNOWN, "OpenLTXFormer"}, TABLE) == PROMPT
    assert with_replacements(PROMPT, KNOWN, ()) == PROMPT


def test_the_table_leads_from_ids_that_are_gone_to_inputs_that_exist() -> None:
    for entry in REPLACED:
        assert entry.old not in KNOWN
        inputs = {given.id for given in KNOWN[entry.new].define_schema().inputs}
        assert {*entry.inputs, *entry.values} <= inputs
