"""`openltx adopt`: a workflow made of other people's nodes → one of ours, with a report."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..adopt import Adopted
    from ..nodes.host.standalone.schema import Registry

HELP = "make a ComfyUI workflow of core's LTX nodes or other packs run with OpenLTX"
UI, API, REPORT = ".json", ".api.json", ".report.txt"


def add(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "file", metavar="FILE", help="a workflow (UI or API format), or a picture, sound or clip with one"
    )
    command.add_argument(
        "-o", "--output", metavar="OUT", help=f"OUT{UI}, OUT{API} and OUT{REPORT} are written; default: NAME.openltx"
    )
    command.add_argument("--check", action="store_true", help="run both on the embedded model in ComfyUI and compare")
    command.add_argument("--comfyui", metavar="DIR", help="checkout for --check; default: COMFYUI_PATH")
    command.add_argument("--json", action="store_true", help="print the report as JSON")


def run(arguments: argparse.Namespace) -> int:
    from ..adopt import adopt, read_file
    from ..nodes.core import CORE_NODES
    from ..nodes.host.standalone.schema import registry_of
    from ..nodes.registry import NODES

    path = Path(arguments.file)
    registry = registry_of([*NODES, *CORE_NODES])
    found = read_file(path)
    adopted = adopt(found, registry, name=path.stem)
    files = _written(adopted, _base(arguments.output, path))
    differences = _checked(arguments, path, registry) if arguments.check else {}
    if arguments.json:
        print(json.dumps({"files": files, "report": adopted.report.as_json(), "check": differences}))
        return 0
    print("\n".join([*adopted.report.lines(), *_check_lines(differences, adopted), "written: " + ", ".join(files)]))
    return 0


def _base(output: str | None, path: Path) -> Path:
    if output is None:
        return Path(f"{path.stem}.openltx")
    return Path(output.removesuffix(API).removesuffix(UI))


def _written(adopted: Adopted, base: Path) -> list[str]:
    """All three files, or none."""
    if base.parent != Path() and not base.parent.is_dir():
        raise ValueError(f"{base.parent}: no such folder; create it or choose another output")
    texts = {
        UI: json.dumps(adopted.ui, indent=1, ensure_ascii=False) + "\n",
        API: json.dumps(adopted.prompt, indent=2, ensure_ascii=False) + "\n",
        REPORT: "\n".join(adopted.report.lines()) + "\n",
    }
    for suffix, text in texts.items():
        Path(f"{base}{suffix}").write_text(text, encoding="utf-8")
    return [f"{base}{suffix}" for suffix in texts]


def _checked(arguments: argparse.Namespace, path: Path, registry: Registry) -> Mapping[str, Any]:
    from ..adopt import read_file
    from ..adopt.check import check_of
    from ..adopt.check_run import measured

    place = arguments.comfyui or os.environ.get("COMFYUI_PATH")
    if not place:
        raise ValueError("adopt --check: expected a ComfyUI checkout; give --comfyui DIR or set COMFYUI_PATH")
    return measured(check_of(read_file(path), registry, name=path.stem), Path(place))


def _check_lines(differences: Mapping[str, Any], adopted: Adopted) -> list[str]:
    from ..adopt.check import lines

    return (
        ["largest difference of latents, on the embedded model:", *lines(differences, adopted)] if differences else []
    )
