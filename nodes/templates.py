"""Makes the UI templates from the API workflows: `python -m openltx.nodes.templates`."""

from __future__ import annotations

import json
from pathlib import Path

from ..model_loaders.catalogue import files
from .core import CORE_NODES
from .help.recipes import RECIPES
from .host.standalone.schema import Registry, registry_of
from .host.standalone.ui_format import ui_workflow
from .host.standalone.workflow import read_workflow

WORKFLOWS = Path(__file__).resolve().parents[1] / "workflows"


def templates(registry: Registry) -> dict[Path, str]:
    """The text of every template by its path. Core nodes, which ComfyUI has itself, are known besides `registry`."""
    registry = {**registry_of(CORE_NODES), **registry}
    models = {file.name: {"name": file.name, "url": file.url, "directory": file.role} for file in files()}

    def text(path: Path) -> str:
        note = f"## {path.stem.replace('_', ' ')}\n\n{RECIPES[path.stem]}"
        made = ui_workflow(read_workflow(path), registry, name=path.stem, models=models, note=note)
        return json.dumps(made, indent=1) + "\n"

    return {WORKFLOWS / path.name: text(path) for path in sorted((WORKFLOWS / "api").glob("*.json"))}


def main() -> None:
    from .registry import NODES

    for path, text in templates(registry_of(NODES)).items():
        path.write_text(text, encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()
