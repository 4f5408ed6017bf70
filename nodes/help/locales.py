"""What the interface shows of the nodes, by language: names, descriptions and tooltips.

ComfyUI merges locales/<language>/nodeDefs.json into its own texts (comfyui_host.md 5.1) and shows English where a
language lacks an entry. English comes from the schemas; the others from `locales/phrases.json`, which names the English
text, so that a changed text is shown in English until somebody translates it again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..host.standalone import io
from ..host.standalone.schema import Registry, schema_of
from .pages import number

LOCALES = Path(__file__).resolve().parents[2] / "locales"
PHRASES = LOCALES / "phrases.json"
LANGUAGES = ("zh", "ja", "ko")  # Simplified Chinese, Japanese, Korean; the order in the phrases
Phrases = Mapping[str, Mapping[str, str]]
"""English text → language → text."""


def phrases(text: str) -> Phrases:
    """The content of phrases.json: {"English": ["zh", "ja", "ko"], …}."""
    return {english: dict(zip(LANGUAGES, texts, strict=True)) for english, texts in json.loads(text).items()}


def locale_files(registry: Registry, known: Phrases) -> dict[Path, str]:
    """The text of every nodeDefs.json by its path."""
    files = {"en": definitions(registry, str)}
    for language in LANGUAGES:
        own = {english: texts[language] for english, texts in known.items() if texts.get(language)}
        files[language] = definitions(registry, own.get)
    return {
        LOCALES / language / "nodeDefs.json": json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        for language, content in files.items()
    }


def definitions(registry: Registry, translate: Callable[[str], str | None]) -> dict[str, Any]:
    """Of every node what `translate` knows; None of it leaves an entry out. Tooltips end in the legal range."""
    made = {name: _filled(_node(schema_of(node)), translate) for name, node in registry.items()}
    for name, content in made.items():
        for entry in schema_of(registry[name]).inputs:
            shown = content.get("inputs", {}).get(entry.id, {})
            if "tooltip" in shown:
                shown["tooltip"] += _range(entry)
    return {name: content for name, content in made.items() if content}


def _range(entry: io.BaseInput) -> str:
    """Of a number, without words; empty for other inputs."""
    if isinstance(entry, io.Int.Input | io.Float.Input) and entry.min is not None:
        return f" [{number(entry.min)} … {number(entry.max)}]"
    return ""


def texts_of(registry: Registry) -> list[str]:
    """All English texts of the nodes, in order, repeated ones too."""
    found: list[str] = []
    definitions(registry, found.append)
    return found


def missing(registry: Registry, known: Phrases) -> dict[str, list[str]]:
    """English texts of the nodes that a language lacks, each once: text → languages."""
    lacking = {text: [name for name in LANGUAGES if not known.get(text, {}).get(name)] for text in texts_of(registry)}
    return {text: languages for text, languages in lacking.items() if languages}


def share(registry: Registry, known: Phrases) -> str:
    """How much of the nodes' texts each language has, in words."""
    texts, lacking = texts_of(registry), missing(registry, known)
    counts = {language: sum(language not in lacking.get(text, []) for text in texts) for language in LANGUAGES}
    return ", ".join(f"{language}: {count} of {len(texts)} texts" for language, count in counts.items())


def _node(schema: io.Schema) -> dict[str, Any]:
    outputs = ((str(index), output) for index, output in enumerate(schema.outputs))
    return {
        "display_name": schema.display_name,
        "description": schema.description,
        "inputs": {entry.id: _socket(entry.display_name or entry.id, entry.tooltip) for entry in schema.inputs},
        "outputs": {index: _socket(output.display_name or output.id, output.tooltip) for index, output in outputs},
    }


def _socket(name: str | None, tooltip: str | None) -> dict[str, Any]:
    return {"name": name, "tooltip": tooltip}


def _filled(content: Mapping[str, Any], translate: Callable[[str], str | None]) -> dict[str, Any]:
    """The tree with every text translated; empty texts and branches are left out."""
    made = {
        key: _filled(value, translate) if isinstance(value, dict) else translate(value)
        for key, value in content.items()
        if value
    }
    return {key: value for key, value in made.items() if value}
