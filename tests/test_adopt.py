"""Workflows of other people, adopted: every row of the table, every form of file, everything that is broken."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openltx.adopt import Adopted, adopt, read_file, read_workflow
from openltx.adopt.constants import folded
from openltx.adopt.embedded import embedded
from openltx.adopt.graph import Found
from openltx.adopt.table import Row, rows
from openltx.nodes.core import CORE_NODES
from openltx.nodes.host.standalone.schema import registry_of, schema_of
from openltx.nodes.host.standalone.validate import validate
from openltx.nodes.registry import NODES
from openltx.tests import adopt_forms as forms
from openltx.tests import adopt_graphs as graphs

HERE = Path(__file__).resolve().parent
REGISTRY = registry_of([*NODES, *CORE_NODES])


FILE = re.compile(r"found '[^']*[.](safetensors|gguf|png|mp4|wav)'$")
MODELS = ("unknown_pack",)  # graphs with a node that only its own pack has


def adopted(workflow: Any, name: str = "workflow") -> Adopted:
    return adopt(read_workflow(workflow, name), REGISTRY, name=name)


def kinds(result: Adopted) -> list[str]:
    return sorted(entry["class_type"] for entry in result.prompt.values())


def problems(result: Adopted) -> list[str]:
    """What the built-in host finds wrong, but for files that are not on this machine."""
    found = validate(result.prompt, REGISTRY).problems
    return [problem for problem in found if not FILE.search(problem)]


def of_kind(result: Adopted, kind: str) -> list[dict[str, Any]]:
    return [entry["inputs"] for entry in result.prompt.values() if entry["class_type"] == kind]


# the table

TYPES = {
    "model": "CheckpointLoaderSimple", "clip": "CLIPLoader", "vae": "VAELoader", "audio_vae": "LTXVAudioVAELoader",
    "image": "LoadImage", "images": "LoadImage", "latent": "EmptyLTXVLatentVideo", "samples": "EmptyLTXVLatentVideo",
    "mask": "SolidMask", "audio": "LoadAudio", "guider": "BasicGuider", "sampler": "KSamplerSelect",
    "sigmas": "ManualSigmas", "noise": "RandomNoise", "positive": "CLIPTextEncode", "negative": "CLIPTextEncode",
}  # fmt: skip
"""What stands at an input of a row's test; at others nothing."""


def single(row: Row) -> dict[str, Any]:
    """An API workflow with the row's node, connected where a plain node fits, and its widgets at plain values."""
    inputs: dict[str, Any] = {}
    nodes: dict[str, Any] = {}
    for name in row.inputs:
        if name in TYPES:
            nodes[name] = {"class_type": TYPES[name], "inputs": {}}
            inputs[name] = [name, 2 if TYPES[name] == "CheckpointLoaderSimple" and name == "vae" else 0]
    for widget in row.widgets:
        if isinstance(widget, str):
            inputs.setdefault(widget, "1")
    return {"it": {"class_type": row.type, "inputs": inputs}, **nodes}


@pytest.mark.parametrize("name", [name for name, row in rows().items() if row.pack != "front_end"])
def test_row(name: str) -> None:
    """The node is reported once, and every node that it became exists and takes what the row gives it."""
    row = rows()[name]
    result = adopted(single(row))
    entries = [
        entry for entry in result.report.entries if f"({name})" in entry.node or entry.node.startswith(f"{name} (")
    ]
    own = [entry for entry in entries if "node it" in entry.node]
    assert len(own) == 1, result.report.lines()
    assert own[0].note or own[0].kind != "unmapped", "a node that is not mapped says why and what to do"
    if row.lost:
        assert own[0].kind == "unmapped"
        assert row.lost in own[0].note
    for entry in result.prompt.values():
        if entry["class_type"].startswith("OpenLTX"):
            known = {given.id for given in schema_of(REGISTRY[entry["class_type"]]).inputs}
            assert set(entry["inputs"]) <= known
    for part, kind, inputs in row.make:
        schema = schema_of(REGISTRY[kind])
        required = {given.id for given in schema.inputs if not given.optional}
        assert required <= set(inputs) <= {given.id for given in schema.inputs}, part
    names = {*row.inputs, *(widget for widget in row.widgets if isinstance(widget, str))}
    names |= {
        inner for widget in row.widgets if not isinstance(widget, str) for own in widget.values() for inner in own
    }
    texts = json.dumps([row.make, row.give, dict(row.options), dict(row.guidance)])
    asked = {text.split("|")[0] for text in json.loads(json.dumps(_dollars(json.loads(texts))))}
    assert asked <= names, "the row asks for inputs that its node has not"


def _dollars(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value[1:]] if value.startswith("$") else []
    if isinstance(value, dict):
        return [found for one in value.values() for found in _dollars(one)]
    return [found for one in value for found in _dollars(one)] if isinstance(value, list) else []


# graphs in every form


@pytest.mark.parametrize("name", graphs.GRAPHS)
def test_graph(name: str) -> None:
    """Converted, known to the built-in host, and the same from every form of file."""
    graph = graphs.GRAPHS[name]()
    result = adopted(graphs.api(graph), name)
    if name in MODELS:
        assert result.report.standalone == "SomebodysNode"
    else:
        assert not problems(result)
    assert all(entry.note for entry in result.report.entries if entry.kind == "unmapped")
    for form in forms.FORMS:
        other = adopted(forms.FORMS[form](graph), name)
        assert kinds(other) == kinds(result), form
        assert name in MODELS or _values(other) == _values(result), form


def _values(result: Adopted) -> list[str]:
    """Every typed value of the workflow, whatever the order of its nodes."""
    found = [
        f"{entry['class_type']}.{name}={value!r}"
        for entry in result.prompt.values()
        for name, value in entry["inputs"].items()
        if not isinstance(value, list)
    ]
    return sorted(found)


@pytest.mark.parametrize("name", graphs.GRAPHS)
def test_the_ui_file_is_whole(name: str) -> None:
    """Links stand in all three places, ids are unique, widgets are as many as the nodes have."""
    file = adopted(graphs.api(graphs.GRAPHS[name]()), name).ui
    assert json.loads(json.dumps(file)) == file
    nodes = {node["id"]: node for node in file["nodes"]}
    assert len(nodes) == len(file["nodes"])
    for number, source, out, target, slot, _ in file["links"]:
        assert number in nodes[source]["outputs"][out]["links"]
        assert nodes[target]["inputs"][slot]["link"] == number
    linked = [socket["link"] for node in file["nodes"] for socket in node["inputs"] if socket["link"] is not None]
    assert sorted(linked) == sorted(row[0] for row in file["links"])
    again = adopted(file, name)  # what we write, we read: our own nodes are kept as they are
    assert kinds(again) == kinds(adopted(graphs.api(graphs.GRAPHS[name]()), name))


def test_what_is_kept() -> None:
    """Prompts, seeds, sizes, LoRA strengths, sigmas, rules, masks: as the old graph has them."""
    result = adopted(graphs.api(graphs.two_stages_ancestral()))
    assert {text["text"] for text in of_kind(result, "OpenLTXEncodePrompt")} == {
        "a red ball bounces on a grey floor",
        "blurry, noise",
    }
    assert sorted(noise["noise_seed"] for noise in of_kind(result, "OpenLTXNoise")) == [7, 42]
    assert [(lora["lora"], lora["strength"]) for lora in of_kind(result, "OpenLTXLoadLora")] == [
        ("distilled.safetensors", 0.5)
    ]
    (empty,) = of_kind(result, "OpenLTXEmptyAVLatent")
    assert (empty["width"], empty["height"], empty["frames"], empty["frame_rate"]) == (64, 64, 9, 24.0)
    assert {rule["rule"] for rule in of_kind(result, "OpenLTXSampler")} == {"euler_ancestral_cfg_pp", "euler_cfg_pp"}
    assert [schedule["values"] for schedule in of_kind(result, "OpenLTXNamedSchedule")] == ["0.85, 0.725, 0.4219, 0"]
    assert [schedule["table"] for schedule in of_kind(result, "OpenLTXDistilledSchedule")] == ["stage 1"]
    assert [rule["rule"] for rule in of_kind(result, "OpenLTXMaskRule")] == ["community"]
    assert "community preset of 'two stages', LTX-2.3" in result.report.preset


def test_several_become_one() -> None:
    """Three loaders of one file, two empty latents, taking apart and putting together again."""
    result = adopted(graphs.api(graphs.two_stages()))
    assert [kind for kind in kinds(result) if "Load" in kind] == ["OpenLTXLoadModel", "OpenLTXLoadUpscaler"]
    assert kinds(result).count("OpenLTXEmptyAVLatent") == 1
    assert "OpenLTXJoinAV" not in kinds(result)
    assert result.report.count("replaced") >= 4


def test_options_of_the_command_line() -> None:
    """`openltx run FILE --prompt … --seed …` works on an adopted file."""
    from openltx.nodes.host.standalone.workflow import exposed_inputs

    exposed = exposed_inputs(adopted(graphs.api(graphs.two_stages())).prompt)
    assert {"prompt", "negative", "seed", "width", "height", "frames", "checkpoint", "prefix"} <= set(exposed)
    assert exposed["prompt"].value == "a red ball bounces on a grey floor"
    assert exposed["seed"].value == 42  # of the first stage


def test_sizes_off_the_grid_are_cut_down_as_comfyui_does() -> None:
    (empty,) = of_kind(
        adopted(graphs.api({**graphs.start(width=540, height=367, length=128), **graphs.stage(), **graphs.end()})),
        "OpenLTXEmptyAVLatent",
    )
    assert (empty["width"], empty["height"], empty["frames"]) == (512, 352, 121)


def test_guidance_of_each_stream() -> None:
    streams = of_kind(adopted(graphs.api(graphs.multimodal())), "OpenLTXStreamGuidance")
    assert sorted((one["cfg"], one["stg"], one["modality"], one["stg_blocks"]) for one in streams) == [
        (3.0, 1.0, 3.0, "1"),
        (7.0, 1.0, 3.0, "1"),
    ]


def test_native_2_5_nodes() -> None:
    """Loaders in three files, guidance as patches on the model and a guider of two scales."""
    result = adopted(graphs.api(graphs.native_2_5()))
    (transformer,) = of_kind(result, "OpenLTXLoadTransformer")
    assert transformer["text_encoder"] == "gemma4-12b-with-proj-ltx-2.5.safetensors"
    (vaes,) = of_kind(result, "OpenLTXLoadVAE")
    assert (vaes["video_vae"], vaes["audio_vae"]) == (
        "ltx-2.5-video-vae-bf16.safetensors",
        "ltx-2.5-audio-vae-bf16.safetensors",
    )
    streams = of_kind(result, "OpenLTXStreamGuidance")
    assert sorted((one["cfg"], one["stg"], one["modality"], one["stg_blocks"]) for one in streams) == [
        (3.0, 1.0, 3.0, "28"),
        (7.0, 1.0, 3.0, "28"),
    ]


def test_another_model_in_the_same_file_is_left_alone() -> None:
    graph = graphs.text_to_video()
    graph["flux"] = ("UNETLoader", {"unet_name": "flux1-dev.safetensors", "weight_dtype": "default"})
    graph["still"] = (
        "KSampler",
        {
            "model": ("flux", 0),
            "seed": 1,
            "steps": 4,
            "cfg": 1.0,
            "sampler_name": "euler",
            "scheduler": "simple",
            "denoise": 1.0,
        },
    )
    graph["fluxvae"] = ("VAELoader", {"vae_name": "ae.safetensors"})
    graph["painted"] = ("VAEDecode", {"samples": ("still", 0), "vae": ("fluxvae", 0)})
    graph["shown"] = ("PreviewImage", {"images": ("painted", 0)})
    result = adopted(graphs.api(graph))
    assert {"UNETLoader", "KSampler", "VAEDecode", "VAELoader"} <= set(kinds(result))
    assert kinds(result).count("OpenLTXSampleStage") == 1


def test_a_file_of_another_model_is_left_alone_as_a_whole() -> None:
    """LTX-Video 0.9: texts, sizes and schedule serve its sampler; half of it made ours would run nowhere."""
    graph = graphs.text_to_video()
    graph["ckpt"] = ("CheckpointLoaderSimple", {"ckpt_name": "ltx-video-2b-v0.9.5.safetensors"})
    graph["te"] = ("CLIPLoader", {"clip_name": "t5xxl_fp16.safetensors", "type": "ltxv", "device": "default"})
    graph["stage"][1]["latent_image"] = graphs.wire("video")
    graph["frames"][1]["samples"] = graphs.wire("stage")
    for name in ("avae", "sound", "av", "split", "heard"):
        del graph[name]
    del graph["clip"][1]["audio"]
    result = adopted(graphs.api(graph))
    assert [kind for kind in kinds(result) if kind.startswith("OpenLTX")] == ["OpenLTXSaveAV"]  # pictures are pictures
    assert not result.report.count("unmapped")


def test_nodes_of_a_depth_model_and_of_a_service_are_kept() -> None:
    """What comes from them belongs to no model: a prompt is encoded, a picture conditions as any other."""
    graph = graphs.image_to_video()
    graph["moge"] = ("LoadMoGeModel", {"model_name": "moge.safetensors"})
    graph["seen"] = ("MoGeInference", {"moge_model": graphs.wire("moge"), "image": graphs.wire("picture")})
    graph["depth"] = ("MoGeRender", {"moge_geometry": graphs.wire("seen"), "output": "depth"})
    graph["sized"][1]["image"] = graphs.wire("depth")
    graph["words"] = ("GeminiNode", {"prompt": "a ball", "images": graphs.wire("picture")})
    graph["yes"][1]["text"] = graphs.wire("words")
    result = adopted(graphs.api(graph))
    assert {"MoGeRender", "GeminiNode", "OpenLTXSampleStage"} <= set(kinds(result))
    assert [kind for kind in kinds(result) if kind == "OpenLTXEncodePrompt"]
    found = read_workflow(graphs.api(graph), "small")
    small = adopt(Found(graph=embedded(folded(found.graph)[0]), form="API"), REGISTRY, name="small")
    assert not small.report.standalone
    assert not validate(small.prompt, REGISTRY).problems


def test_the_pack_of_an_unknown_node_is_named() -> None:
    ui = forms.FORMS["new"](graphs.unknown_pack())
    (theirs,) = (node for node in ui["nodes"] if node["type"] == "SomebodysNode")
    theirs["properties"] = {"cnr_id": "comfyui-somebody"}
    text = "\n".join(adopted(ui).report.lines())
    assert "the table does not know it; it needs its own pack, comfyui-somebody" in text
    theirs["properties"] = {"cnr_id": "comfy-core"}
    assert adopted(ui).report.count("unmapped") == 0


def test_an_unknown_node_of_an_api_file_stays_of_no_pack() -> None:
    """Else the file, adopted again, would call it one of ComfyUI's own."""
    ui = adopted(graphs.api(graphs.unknown_pack())).ui
    packs = {node["type"]: node["properties"].get("cnr_id") for node in ui["nodes"]}
    assert packs["SomebodysNode"] is None
    assert packs["OpenLTXSampleStage"] == "openltx"
    assert adopted(ui).report.count("unmapped") == 1


def test_an_unknown_node_whose_form_takes_a_link_is_written() -> None:
    """A file tells that its text may be typed; it comes over a link."""
    graph = graphs.unknown_pack()
    graph["words"] = ("GeminiNode", {"prompt": "a ball"})
    graph["theirs"][1]["power"] = graphs.wire("words")
    result = adopted(forms.FORMS["new"](graph))
    assert json.loads(json.dumps(result.ui)) == result.ui
    (theirs,) = (entry for entry in result.prompt.values() if entry["class_type"] == "SomebodysNode")
    assert result.prompt[theirs["inputs"]["power"][0]]["class_type"] == "GeminiNode"


# files that are broken


def test_files_without_a_workflow(tmp_path: Path) -> None:
    for name, data in (
        ("a.json", b"{}"),
        ("b.json", b"\xff\xfe"),
        ("c.json", b"[1, 2]"),
        ("d.json", b"{"),
        ("e.json", b'"x"'),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ValueError, match="expected") as found:
            read_file(tmp_path / name)
        assert "\n" not in str(found.value)
    with pytest.raises(ValueError, match="no such file"):
        read_file(tmp_path / "none.json")


def test_broken_links_and_unknown_packs_are_reported() -> None:
    workflow = graphs.api(graphs.unknown_pack())
    workflow["stage"]["inputs"]["noise"] = ["missing", 0]
    workflow["odd"] = "no node"
    result = adopted(workflow)
    text = "\n".join(result.report.lines())
    assert "its input noise comes from node missing, which is not there" in text
    assert "entry 'odd': no node" in text
    assert "SomebodysNode (node theirs): the table does not know it" in text
    ui = forms.FORMS["old"](graphs.image_to_video())
    ui["links"][3] = None
    ui["links"][4][1] = 999
    ui["nodes"][5]["inputs"] = None
    ui["nodes"][6]["widgets_values"] = 3
    assert adopted(ui).report.remarks


def test_circles_end() -> None:
    ui = forms.FORMS["old"](graphs.distilled())
    graph = graphs.api(graphs.distilled())
    graph["av"]["inputs"]["video_latent"] = ["split", 0]
    assert "circle" in "\n".join(adopted(graph).report.lines())
    for number, node in enumerate(ui["nodes"]):
        ui["nodes"][number] = {**node, "mode": 4}
    assert not of_kind(adopted(ui), "OpenLTXSampleStage")
    inner = {"id": "a", "name": "loop", "nodes": [{"id": 1, "type": "a"}], "links": [], "inputs": [], "outputs": []}
    looped = {"nodes": [{"id": 1, "type": "a"}], "links": [], "definitions": {"subgraphs": [inner]}, "version": 0.4}
    assert "contains itself" in "\n".join(adopted(looped).report.lines())


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_damage_gives_a_report(data: st.DataObject) -> None:
    """Values of a file replaced at random places: a report, never a traceback."""
    name = data.draw(st.sampled_from(["two_stages", "ic_lora_pack", "gguf", "multimodal"]))
    form = data.draw(st.sampled_from(["api", *forms.FORMS]))
    graph = graphs.GRAPHS[name]()
    workflow = json.loads(json.dumps(graphs.api(graph) if form == "api" else forms.FORMS[form](graph)))
    for _ in range(data.draw(st.integers(1, 6))):
        _damage(workflow, data)
    try:
        found = read_workflow(workflow, "damaged")
    except ValueError:
        return  # nothing of a workflow is left, as test_files_without_a_workflow says
    result = adopt(found, REGISTRY, name="damaged")
    assert result.report.lines()
    assert json.dumps([result.ui, result.prompt])


def _damage(workflow: Any, data: st.DataObject) -> None:
    """One value somewhere in it becomes another one."""
    place = workflow
    while True:
        key = data.draw(st.sampled_from(list(place) if isinstance(place, dict) else list(range(len(place)))))
        if isinstance(place[key], (dict, list)) and place[key] and data.draw(st.integers(0, 4)):
            place = place[key]
            continue
        place[key] = data.draw(st.sampled_from([None, 0, -1, 10**9, "x", "", [], {}, [1, 2, 3], True, 1e308, ["a", 0]]))
        return


# small ones of the real thing


@pytest.mark.parametrize("name", ["two_stages", "first_and_last", "lip_dub"])
def test_the_small_version_is_sound(name: str) -> None:
    """`--check` and the tests below run old graphs on the embedded model."""
    found = read_workflow(graphs.api(graphs.GRAPHS[name]()), name)
    result = adopt(Found(graph=embedded(folded(found.graph)[0]), form="API"), REGISTRY, name=name)
    assert not validate(result.prompt, REGISTRY).problems
    assert not of_kind(result, "OpenLTXLoadLora")
