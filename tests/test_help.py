"""Help pages and languages of the nodes: made from the schemas, never stale, and true to the code."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

from openltx.nodes.help.errors import MISSING
from openltx.nodes.help.locales import LANGUAGES, LOCALES, PHRASES, locale_files, phrases, share, texts_of
from openltx.nodes.help.notes import NOTES
from openltx.nodes.help.pages import PAGES, page, page_files, stray_pages
from openltx.nodes.host.standalone import io
from openltx.nodes.host.standalone.schema import registry_of, schema_of
from openltx.nodes.registry import NODES

ROOT = Path(__file__).resolve().parents[1]
REGISTRY = registry_of(NODES)
KNOWN = phrases(PHRASES.read_text(encoding="utf-8"))
AGAIN = "is stale: run python -m openltx.nodes.help"
MOST_USED = """
OpenLTXLoadModel OpenLTXLoadTransformer OpenLTXLoadVAE OpenLTXLoadUpscaler OpenLTXLoadLora
OpenLTXEncodePrompt OpenLTXEmptyAVLatent OpenLTXUpscaleLatent OpenLTXConditionImage OpenLTXConditionReference
OpenLTXGivenAudio OpenLTXSchedule OpenLTXDistilledSchedule OpenLTXNoise OpenLTXNextNoise OpenLTXSampler
OpenLTXPresetGuider OpenLTXSample OpenLTXSampleStage OpenLTXDecodeVideo OpenLTXDecodeAudio OpenLTXSaveAV""".split()


def test_every_node_has_a_page_as_its_schema_says_and_no_other_node_has_one() -> None:
    for path, text in page_files(REGISTRY).items():
        assert path.is_file(), f"{path} is missing: run python -m openltx.nodes.help"
        assert path.read_text(encoding="utf-8") == text, f"{path} {AGAIN}"
    assert stray_pages(REGISTRY) == []
    assert {path.stem for path in PAGES.glob("OpenLTX*.md")} == set(REGISTRY)


def test_a_page_names_every_input_with_its_range_and_default_and_every_output() -> None:
    for node in NODES:
        schema = schema_of(node)
        text = page(schema)
        assert text.startswith(f"# {schema.display_name}\n\n{schema.description}\n")
        for entry in schema.inputs:
            assert f"\n| `{entry.id}`" in text
            if isinstance(entry, io.Int.Input):
                assert f"{entry.min} to {entry.max}" in text
        assert all(f"\n| `{output.id}` | {output.io_type} |" in text for output in schema.outputs)


def test_pages_do_not_depend_on_the_models_of_this_machine() -> None:
    named = {path.name for path in PAGES.glob("OpenLTX*.md") if ".safetensors`" in path.read_text(encoding="utf-8")}
    assert named == set()


def _literals(path: Path) -> set[str]:
    """All texts of a file, with … for each value in them."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
        elif isinstance(node, ast.JoinedStr):
            found.add("".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values))
    return {re.sub("…+", "…", text) for text in found}


def test_every_error_on_a_page_is_an_error_of_the_code() -> None:
    folders = ("nodes", "samplers", "model_loaders", "networks", "media", "training")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py") if path.parent.name != "help"]
    known = set().union(*map(_literals, files))
    quoted = {(name, text) for name, note in NOTES.items() for text in (*note.errors, MISSING)}
    assert [entry for entry in sorted(quoted) if entry[1] not in known] == []


def test_notes_are_of_nodes_that_exist() -> None:
    assert set(NOTES) - set(REGISTRY) == set()


def test_languages_are_as_schemas_and_phrases_say() -> None:
    for path, text in locale_files(REGISTRY, KNOWN).items():
        assert path.is_file(), f"{path} is missing: run python -m openltx.nodes.help"
        assert path.read_text(encoding="utf-8") == text, f"{path} {AGAIN}"


@pytest.mark.parametrize("language", ["en", *LANGUAGES])
def test_languages_know_only_nodes_inputs_and_outputs_that_exist(language: str) -> None:
    content = json.loads((LOCALES / language / "nodeDefs.json").read_text(encoding="utf-8"))
    assert set(content) - set(REGISTRY) == set()
    for name, entry in content.items():
        schema = schema_of(REGISTRY[name])
        assert set(entry) <= {"display_name", "description", "inputs", "outputs"}
        assert set(entry.get("inputs", {})) <= {given.id for given in schema.inputs}
        assert set(entry.get("outputs", {})) <= {str(index) for index in range(len(schema.outputs))}


def test_no_phrase_is_of_a_text_that_is_gone() -> None:
    assert set(KNOWN) - set(texts_of(REGISTRY)) == set()


def test_texts_hold_nothing_that_the_interface_reads_as_a_placeholder() -> None:
    texts = [*texts_of(REGISTRY), *(text for languages in KNOWN.values() for text in languages.values())]
    assert [text for text in texts if re.search(r"[{}@|$]", text)] == []


def test_names_of_nodes_and_the_inputs_of_the_most_used_ones_are_translated(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with capsys.disabled():
        print(f"\ntranslated: {share(REGISTRY, KNOWN)}")
    assert [name for node in NODES if (name := schema_of(node).display_name) not in KNOWN] == []
    tooltips = {entry.tooltip for name in MOST_USED for entry in schema_of(REGISTRY[name]).inputs if entry.tooltip}
    assert sorted(tooltips - set(KNOWN)) == []
