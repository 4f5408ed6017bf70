"""Help pages and languages of the nodes: made from the schemas, never stale, and true to the code."""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from pathlib import Path

import pytest

from openltx.nodes.help.errors import MISSING
from openltx.nodes.help.locales import LANGUAGES, LOCALES, PHRASES, locale_files, missing, phrases, share, texts_of
from openltx.nodes.help.notes import NOTES
from openltx.nodes.help.pages import PAGES, page, page_files, stray_pages
from openltx.nodes.host.standalone import io
from openltx.nodes.host.standalone.schema import registry_of, schema_of
from openltx.nodes.registry import NODES

ROOT = Path(__file__).resolve().parents[1]
REGISTRY = registry_of(NODES)
KNOWN = phrases(PHRASES.read_text(encoding="utf-8"))
AGAIN = "is stale: run python -m openltx.nodes.help"
TRANSLATE = (
    'Not translated. Add a line `"English": ["zh", "ja", "ko"],` for each to locales/phrases.json, '
    "then run python -m openltx.nodes.help"
)


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
    folders = ("nodes", "samplers", "model_loaders", "networks", "media", "training", "shots")
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


def test_every_text_of_the_nodes_is_translated(capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\ntranslated: {share(REGISTRY, KNOWN)}")
    lines = "\n".join(
        f"{json.dumps(text, ensure_ascii=False)}: {languages}" for text, languages in missing(REGISTRY, KNOWN).items()
    )
    assert not lines, f"{TRANSLATE}:\n{lines}"


def test_a_text_without_a_translation_is_named_with_the_languages_that_lack_it() -> None:
    texts = texts_of(REGISTRY)
    known = {text: dict.fromkeys(LANGUAGES, "…") for text in texts}
    first, second = list(known)[:2]
    known[first]["ja"] = ""
    del known[second]
    assert missing(REGISTRY, known) == {first: ["ja"], second: list(LANGUAGES)}
    lacking = {"zh": texts.count(second), "ja": texts.count(first) + texts.count(second), "ko": texts.count(second)}
    counts = [f"{name}: {len(texts) - count} of {len(texts)} texts" for name, count in lacking.items()]
    assert share(REGISTRY, known) == ", ".join(counts)


def test_translations_keep_numbers_code_and_file_endings() -> None:
    changed = [
        (english, text)
        for english, languages in KNOWN.items()
        for text in languages.values()
        if [part for part in re.findall(r"\d+(?:\.\d+)?|`[^`]+`|\.\w+\b", english) if part not in text]
    ]
    assert changed == []


def test_a_node_named_in_a_text_is_named_as_the_language_shows_it() -> None:
    names = sorted((str(schema_of(node).display_name) for node in NODES), key=len, reverse=True)
    named = re.compile("|".join(re.escape(name) for name in names if name.endswith("(LTX)")))
    cited = [(english, name) for english in KNOWN for name in named.findall(english) if name != english]
    assert ("From Load EXR (LTX).", "Load EXR (LTX)") in cited
    wrong = [
        (KNOWN[name][language], text)
        for english, name in cited
        for language, text in KNOWN[english].items()
        if KNOWN[name][language] not in text
    ]
    assert wrong == []


def test_each_phrase_stands_once() -> None:
    pairs = json.loads(PHRASES.read_text(encoding="utf-8"), object_pairs_hook=list)
    assert [name for name, count in Counter(english for english, _ in pairs).items() if count > 1] == []
