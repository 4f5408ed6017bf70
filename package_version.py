"""The package's version, for the command line and for what is written into files."""

from __future__ import annotations

import re
from pathlib import Path


def version() -> str:
    """From the pyproject.toml beside this file (a checkout; ComfyUI installs nothing), else from the metadata."""
    project = Path(__file__).with_name("pyproject.toml")
    if project.is_file():
        match = re.search(r'^version = "([^"]+)"', project.read_text(encoding="utf-8"), flags=re.MULTILINE)
        if match:
            return match[1]
    from importlib.metadata import version as installed

    return installed("openltx")
