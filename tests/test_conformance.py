"""Golden cases: the project's own copy must pass whole; the full set is run too where it lies beside the checkout."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from openltx.cli import main
from openltx.conformance.case import Case
from openltx.conformance.registry import known_kinds
from openltx.conformance.runner import find_cases, report_line, run_case

ROOT = Path(__file__).resolve().parents[1]
OWN = ROOT / "tests" / "golden"
FULL = ROOT.parent / "shared" / "golden"
KNOWN = set(known_kinds())


def _id(case: Case) -> str:
    return f"{case.path.parent.name}/{case.path.stem}"


@pytest.mark.parametrize("case", list(find_cases([OWN])), ids=_id)
def test_own_copy(case: Case) -> None:
    result = run_case(case)
    assert result.passed, report_line(result)


@pytest.mark.skipif(not FULL.is_dir(), reason=f"the full set of golden vectors is not at {FULL}")
@pytest.mark.parametrize("case", list(find_cases([FULL])) if FULL.is_dir() else [], ids=_id)
def test_full_set(case: Case) -> None:
    """Kinds that no procedure knows yet are left to the issues that bring them; `openltx conformance` fails them."""
    if case.kind not in KNOWN:
        pytest.skip(f"no procedure yet for {case.kind}")
    result = run_case(case)
    assert result.passed, report_line(result)


def test_the_own_copy_is_small_and_the_same_as_the_full_set() -> None:
    files = [path for path in OWN.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 12 * 2**20
    if FULL.is_dir():
        for path in files:
            if path.suffix in (".safetensors", ".json"):
                assert path.read_bytes() == (FULL / path.relative_to(OWN)).read_bytes()


def test_an_unknown_kind_fails_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from safetensors.torch import save_file
    from torch import ones

    row = {"component": "telepathy", "call": {"op": "send"}, "rtol": 0, "atol": 0}
    save_file({"@out/x": ones(1)}, tmp_path / "case.safetensors", {"case": json.dumps(row)})
    assert main(["conformance", str(tmp_path)]) == 1
    assert "unknown kind: component 'telepathy', op 'send'" in capsys.readouterr().out


def test_the_command_counts_and_lists(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conformance", str(OWN), "--filter", "rope_tables_small", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["passed"] is True
    assert "1 passed, 0 failed" in captured.err
    assert main(["conformance", "--list"]) == 0
    assert "transformer / forward" in capsys.readouterr().out
    assert main(["conformance", "no/such/folder"]) == 2
    assert main(["conformance", str(OWN), "--filter", "matches nothing"]) == 1
