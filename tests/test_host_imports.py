"""The ComfyUI side of the seam keeps to ComfyUI's public modules: what lies deeper changes without a word."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SIDE = sorted((ROOT / "nodes" / "host" / "comfyui").glob("*.py"))
FORBIDDEN = ("comfy.ldm", "comfy_extras", "comfy_api_nodes", "custom_nodes")


def imported(source: str) -> set[str]:
    """Modules of all absolute imports, those inside functions too."""
    found: set[str] = set()
    for part in ast.walk(ast.parse(source)):
        if isinstance(part, ast.Import):
            found |= {name.name for name in part.names}
        elif isinstance(part, ast.ImportFrom) and part.level == 0 and part.module:
            found |= {part.module, *(f"{part.module}.{name.name}" for name in part.names)}
    return found


@pytest.mark.parametrize("file", SIDE, ids=lambda file: str(file.stem))
def test_no_import_of_models_extras_or_other_packs(file: Path) -> None:
    names = imported(file.read_text(encoding="utf-8"))
    assert not [name for name in names if name.startswith(FORBIDDEN)]


def test_the_check_sees_what_it_forbids() -> None:
    assert imported("def f():\n    from comfy.ldm import x\n    import comfy_extras.y") >= {
        "comfy.ldm",
        "comfy_extras.y",
    }
    assert len(SIDE) > 5
