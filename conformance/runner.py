"""Finds golden cases below folders, runs them, judges them, reports one line a case and a total."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from . import registry
from .case import Case, read_case, read_json_case
from .compare import Verdict, judge, relative_rms, rule_for

JSON_LISTS = ("tokenizer_cases.json", "clean_response_cases.json", "detect_headers.json")
BFLOAT16_BOUNDS = {"text": 0.01, "other": 0.03}  # relative rms error
TEXT_COMPONENTS = ("text_encoder", "text_conditioning", "feature_extractor", "duration_head")


@dataclass(frozen=True, kw_only=True)
class Result:
    """One case that was run: its verdicts by output, or why it could not be run."""

    case: Case
    verdicts: tuple[Verdict, ...] = ()
    failure: str | None = None

    @property
    def passed(self) -> bool:
        return self.failure is None and bool(self.verdicts) and all(v.passed for v in self.verdicts)

    @property
    def worst(self) -> Verdict | None:
        return max(self.verdicts, key=lambda v: v.ratio, default=None)


def find_cases(
    folders: Iterable[str | os.PathLike[str]], *, text: str = "", generation: str | None = None
) -> Iterator[Case]:
    """Cases below the folders (a single file counts as its own folder), in order of their paths.

    text keeps the paths that contain it; generation keeps the cases that hold for it.
    Raises ValueError for a folder that does not exist.
    """
    for folder in map(Path, folders):
        if not folder.exists():
            raise ValueError(f"{folder}: no such folder; give a folder with golden cases")
        for path in _case_files(folder):
            if text not in path.as_posix():
                continue
            case = read_json_case(path) if path.suffix == ".json" else read_case(path)
            if case is not None and (generation is None or generation in case.generations):
                yield case


def run_case(case: Case, *, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Result:
    """Run one case; an unknown kind and an exception are failures, never skips."""
    run = registry.find(case.kind)
    if run is None:
        component, op = case.kind
        return Result(case=case, failure=f"unknown kind: component {component!r}, op {op!r}")
    case = replace(case, device=torch.device(device), dtype=dtype)
    try:
        with torch.inference_mode():
            got = run(case)
    except Exception as error:  # a case must not stop the others
        return Result(case=case, failure=f"{type(error).__name__}: {error}".splitlines()[0])
    return Result(case=case, verdicts=tuple(_verdicts(case, got)))


def _case_files(folder: Path) -> list[Path]:
    if folder.is_file():
        return [folder]
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix == ".safetensors" or (path.suffix == ".json" and path.name in JSON_LISTS)
    )


def _verdicts(case: Case, got: dict[str, torch.Tensor]) -> Iterator[Verdict]:
    # Lists, and cases whose expectation stands in their call: the procedure compares, and gives one boolean an entry.
    if case.path.suffix == ".json" or not case.expected:
        for name, match in got.items():
            ok = match.dtype is torch.bool and bool(match.all())
            yield Verdict(output=name, ratio=0.0 if ok else float("inf"), detail="exact" if ok else "differs")
        return
    for name, want in case.expected.items():
        if case.dtype is torch.float32 or not want.is_floating_point():
            yield judge(name, got.get(name), want, rule_for(name, case.tolerance, case.rtol, case.atol))
        else:
            kind = "text" if case.component in TEXT_COMPONENTS else "other"
            yield relative_rms(name, got.get(name), want, BFLOAT16_BOUNDS[kind])


def report_line(result: Result) -> str:
    """`PASS area/name  error … / tolerance: ratio`."""
    name = f"{result.case.path.parent.name}/{result.case.path.stem}"
    if result.failure is not None:
        return f"FAIL {name}: {result.failure}"
    worst = result.worst
    if worst is None:
        return f"FAIL {name}: the case has no expected output"
    word = "PASS" if result.passed else "FAIL"
    return f"{word} {name}: worst {worst.ratio:.3g} of tolerance ({worst.output}: {worst.detail})"


def as_json(result: Result) -> dict[str, object]:
    """One row of `--json`."""
    worst = result.worst
    return {
        "case": result.case.path.as_posix(),
        "component": result.case.component,
        "op": result.case.call.get("op"),
        "generations": list(result.case.generations),
        "passed": result.passed,
        "failure": result.failure,
        "worst_output": worst.output if worst else None,
        "worst_ratio": worst.ratio if worst else None,
    }
