"""Thousands of damaged workflow files: `openltx adopt` gives a report or one line, soon, and files that can be read.

As a script: `python test_fuzz_workflows.py FOLDER [COUNT [TEMPLATES]]` (benchmarks/fuzz.py).
"""

from __future__ import annotations

import copy
import importlib.util
import itertools
import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

MUTATIONS = 1200
EXTRA_ADDRESSES = 2 * 10**9
LONGEST_LINE = 700
HOSTILE: tuple[Any, ...] = (
    None, 0, -1, 10**9, 10**300, -(10**18), 1e308, float("nan"), float("inf"), True, "", "x", [], {}, [1, 2, 3],
    ["a", 0], ["1", -1], [["1", 0], 0], {"__value__": [1]}, {"__value__": {"a": 1}}, "\ud800", "\x1b[2J\x00\u202e",
    "a" * 100_000, "../../../etc/passwd", "C:\\CON", "<script>alert(1)</script>", "${jndi:x}", "__class__",
    "9**9**9**9", "lambda: 1", "(" * 5000, "1," * 20_000, "$text", "%rate", "@load.0", "randomize", "nan", "-inf",
    "１２", "LTXVAddGuide", "SetNode",
)  # fmt: skip

Damage = Callable[[random.Random, Any], None]


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _place(rng: random.Random, whole: Any) -> tuple[Any, Any]:
    """A list or object somewhere inside, and one of its keys."""
    place = whole
    while True:
        key = rng.choice(list(place) if isinstance(place, dict) else range(len(place)))
        inside = place[key]
        if not isinstance(inside, (dict, list)) or not inside or rng.random() < 0.2:
            return place, key
        place = inside


def _another_value(rng: random.Random, whole: Any) -> None:
    place, key = _place(rng, whole)
    place[key] = copy.deepcopy(rng.choice(HOSTILE))


def _gone(rng: random.Random, whole: Any) -> None:
    place, key = _place(rng, whole)
    del place[key]


def _swapped(rng: random.Random, whole: Any) -> None:
    """Two values of one list or object change places; so do links, widgets and ids."""
    place, key = _place(rng, whole)
    other = rng.choice(list(place) if isinstance(place, dict) else range(len(place)))
    place[key], place[other] = place[other], place[key]


def _moved(rng: random.Random, whole: Any) -> None:
    """A value from elsewhere in the file: other types, circles of nodes."""
    (place, key), (source, name) = _place(rng, whole), _place(rng, whole)
    place[key] = json.loads(json.dumps(source[name]))


def _added(rng: random.Random, whole: Any) -> None:
    place, key = _place(rng, whole)
    if isinstance(place, list):
        place.insert(key, copy.deepcopy(rng.choice(HOSTILE)))
    else:
        place[str(rng.choice(HOSTILE))[:200]] = copy.deepcopy(rng.choice(HOSTILE))


DAMAGES: tuple[Damage, ...] = (_another_value, _another_value, _gone, _swapped, _moved, _added)


def originals(folder: str | None) -> list[str]:
    """Graphs of our own in every form, and ComfyUI's templates of a folder."""
    graphs, forms = _load("adopt_graphs"), _load("adopt_forms")
    made = [graphs.api(make()) for make in graphs.GRAPHS.values()]
    made += [forms.FORMS[form](make()) for form in forms.FORMS for make in graphs.GRAPHS.values()]
    paths = sorted(Path(folder).glob("*ltx*.json")) if folder else []
    return [json.dumps(one) for one in made] + [path.read_text(encoding="utf-8") for path in paths]


def damaged(files: list[str], seed: int) -> bytes:
    """A file of which some values are wrong; one in ten is no JSON any more."""
    rng = random.Random(seed)
    whole = json.loads(rng.choice(files))
    for _ in range(rng.choice((1, 1, 2, 4, 12))):
        if whole:
            rng.choice(DAMAGES)(rng, whole)
    text = json.dumps(whole).encode()
    if rng.random() < 0.1:
        at = rng.randrange(len(text))
        text = text[:at] + rng.choice((b"", b"\xff", b"{", b'"', b"\x00")) + text[at + rng.randrange(3) :]
    return text


def monsters() -> Iterator[tuple[str, bytes]]:
    """What nobody draws by chance."""
    chain = {str(i): _node("ImageInvert", image=[str(i + 1), 0]) for i in range(3000)}
    yield "a chain written backwards", _packed(chain | {"3000": _node("LoadImage", image="a.png")})
    yield "one circle", _packed({str(i): _node("ImageInvert", image=[str((i + 1) % 500), 0]) for i in range(500)})
    kinds = {str(i): _node(f"Kind{i}", x=[str(i // 2), i % 9]) for i in range(1, 2000)}
    yield "as many kinds as nodes", _packed(kinds)
    yield "deep lists", b'{"nodes": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    yield "deep objects", b'{"a": ' * 50_000 + b"1" + b"}" * 50_000
    yield "a long number", b'{"1": {"class_type": "PrimitiveInt", "inputs": {"value": ' + b"9" * 100_000 + b"}}}"
    yield "a long text", _packed({"1": _node("x" * 3_000_000, **{"y" * 3_000_000: 1})})
    yield "subgraphs that double", _packed(_doubling(40))
    shows = {"id": 1, "type": "SaveImage", "inputs": [{"name": "images", "link": 1}]}
    maker, link = {"id": 2, "type": "Odd"}, [1, 2, 10**12, 1, 0, "*"]
    yield "an output beyond all", _packed({"nodes": [shows, maker], "links": [link], "version": 0.4})
    yield "the same by name", _packed({"a": _node("Odd"), "b": _node("SaveImage", images=["a", 10**12])})


def _node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def _packed(workflow: Any) -> bytes:
    return json.dumps(workflow).encode()


def _doubling(depth: int) -> dict[str, Any]:
    """A subgraph of two of a subgraph of two …"""
    inner = [
        {
            "id": f"s{level}",
            "name": f"s{level}",
            "nodes": [{"id": place, "type": f"s{level + 1}", "inputs": [], "outputs": []} for place in (1, 2)],
            "links": [],
        }
        for level in range(depth)
    ]
    return {"nodes": [{"id": 1, "type": "s0"}], "links": [], "version": 0.4, "definitions": {"subgraphs": inner}}


def run(folder: str, count: int = MUTATIONS, templates: str | None = None) -> dict[str, float]:
    """`count` damaged files and the monsters, in this process."""
    from openltx.adopt import adopt, read_file
    from openltx.benchmarks.hunt import Case, hunt
    from openltx.nodes.core import CORE_NODES
    from openltx.nodes.host.standalone.schema import registry_of
    from openltx.nodes.registry import NODES

    registry, path = registry_of([*NODES, *CORE_NODES]), Path(folder) / "file.json"

    def taken() -> None:
        result = adopt(read_file(path), registry, name=path.stem)
        lines = result.report.lines()
        assert all(len(line) < LONGEST_LINE and line.isprintable() for line in lines), "a line no terminal can show"
        for made in (result.ui, result.prompt):
            text = json.dumps(made, ensure_ascii=False, allow_nan=False).encode()  # no NaN, no half characters
            assert json.loads(text) == made

    files = originals(templates)
    path.write_text(files[0])
    taken()

    def cases() -> Iterator[Case]:
        damages = ((f"seed {seed}", damaged(files, seed)) for seed in range(count))
        for name, data in itertools.chain(monsters(), damages):
            path.write_bytes(data)
            yield Case(name=name, take=taken)

    return hunt(cases(), Path(folder), room=EXTRA_ADDRESSES)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="NOT TESTED: fuzzing needs Linux for its limits")
def test_every_damaged_file_gives_a_report_or_a_line(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, __file__, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    counts = json.loads(done.stdout.splitlines()[-1])
    assert counts["refused"] + counts["opened"] >= MUTATIONS
    assert counts["opened"] > MUTATIONS // 2, counts
    assert counts["refused"] > MUTATIONS // 100, counts


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1], int(sys.argv[2]) if sys.argv[2:] else MUTATIONS, *sys.argv[3:])))
