"""Shared fixtures: golden folders, and a clear word when the package is not installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

if importlib.util.find_spec("openltx") is None:
    raise pytest.UsageError("openltx is not installed; run: pip install -e '.[test]'")


def golden_roots() -> list[Path]:
    """The project's own vectors, and the full set where it lies beside the checkout."""
    roots = [ROOT / "tests" / "golden", ROOT.parent / "shared" / "golden"]
    return [root for root in roots if root.is_dir()]


def pytest_report_header() -> str:
    import openltx

    return f"openltx under test: {openltx.__file__}; golden vectors: {', '.join(map(str, golden_roots()))}"
