"""Contract test 2: the odd nodes of packaging.md section 4 behave alike in both hosts, or differ as decided there."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

Prompt = dict[str, Any]


def node(class_type: str, title: str | None = None, **inputs: Any) -> dict[str, Any]:
    """One entry of a prompt; `a__b` in a name stands for the dynamic input `a.b`."""
    named = {name.replace("__", "."): value for name, value in inputs.items()}
    return {"class_type": class_type, "inputs": named, "_meta": {"title": title or class_type}}


def shown(host: Any, **nodes: dict[str, Any]) -> str:
    """What a ToyShow on the node `n` shows, without the hidden values."""
    outcome = host.run({**nodes, "show": node("ToyShow", value=["n", 0])})
    assert outcome.ended == "success", outcome.error
    return str(outcome.ui["show"]["text"][0]).rsplit(" (", 1)[0]


def refused(host: Any, **nodes: dict[str, Any]) -> str:
    outcome = host.run({**nodes, "show": node("ToyShow", value=["n", 0])})
    assert outcome.ended == "refused"
    return str(outcome.error)


def test_same_tensors(both_hosts: Any) -> None:
    nodes = {"l": node("ToyLatent", seed=5), "n": node("ToyDigest", latent=["l", 0], spec=["l", 1])}
    digests = {shown(host, **nodes) for host in both_hosts}
    assert len(digests) == 1


def test_same_video_names_and_bytes(both_hosts: Any) -> None:
    entries = []
    for host in both_hosts:
        for _ in range(2):
            outcome = host.run(
                {"a": node("ToySave", text="x", prefix="a/b"), "b": node("ToySave", text="x", prefix="a/b")}
            )
            entries.append(sorted(image["filename"] for ui in outcome.ui.values() for image in ui["images"]))
        assert sorted(path.name for path in (host.output_folder / "a").iterdir()) == ["b_00001_.txt", "b_00002_.txt"]
    assert entries == [["b_00001_.txt", "b_00002_.txt"]] * 4  # two equal savers save twice; a second run is cached


def test_date_in_prefix(host: Any) -> None:
    outcome = host.run({"a": node("ToySave", text="x", prefix="day/%year%")})
    assert outcome.ui["a"]["images"][0]["filename"] == f"{time.localtime().tm_year}_00001_.txt"
    assert outcome.ui["a"]["animated"] == [True]


@pytest.mark.parametrize("prefix", ["../x", "/tmp/x", "a/../../x"])
def test_prefix_may_not_leave_the_folder(host: Any, prefix: str) -> None:
    outcome = host.run({"a": node("ToySave", text="x", prefix=prefix)})
    assert outcome.ended == "failed"
    assert "filename prefix: expected a name inside" in outcome.error


def test_autogrow(host: Any) -> None:
    three, gap = node("ToyNumber", value=3), node("ToySum", items__item0=["x", 0], items__item2=["x", 0])
    assert shown(host, x=three, n=gap) == "6"
    assert shown(host, x=three, s=gap, n=node("ToyChecked", word=["s", 1], flag=False, size=1)).startswith(
        "\"('item0,item2'"
    )
    assert shown(host, n=node("ToySum")) == "0"
    assert shown(host, x=three, n=node("ToySum", items__item0=["x", 0], items__item3=4)) == "3"  # beyond max


def test_dynamic_combo(host: Any) -> None:
    assert "('gain', 2.0), ('mode', 'gain')" in shown(host, n=node("ToyMode", mode="gain", mode__gain=2))
    assert "[('mode', 'text'), ('text', 'a'), ('times', None)]" in shown(
        host, n=node("ToyMode", mode="text", mode__text="a")
    )
    assert "[('mode', 'none')]" in shown(host, n=node("ToyMode", mode="none"))
    assert "gain" in refused(host, n=node("ToyMode", mode="gain"))
    refused(host, n=node("ToyMode", mode="gain", mode__gain=9))


def test_unknown_option(host: Any) -> None:
    outcome = host.run({"n": node("ToyMode", mode="other"), "show": node("ToyShow", value=["n", 0])})
    assert outcome.ended == {"standalone": "refused", "comfyui": "failed"}[host.name]  # ComfyUI notices inside the node


@pytest.mark.parametrize(("value", "seen"), [(4.7, "4"), ("4", "4"), (True, "1"), ({"__value__": 6}, "6")])
def test_conversion_to_int(host: Any, value: Any, seen: str) -> None:
    assert shown(host, n=node("ToyNumber", value=value)) == seen


def test_conversion_of_others(host: Any) -> None:
    assert shown(host, n=node("ToyChecked", word=5, flag="false", size="2")) == "\"('5', True, 2.0)\""


@pytest.mark.parametrize("value", ["many", None, 11, -1, ["x", 0, 1], ["n"]])
def test_refused_values(host: Any, value: Any) -> None:
    assert "value" in refused(host, n=node("ToyNumber", value=value))


def test_step_is_not_checked(host: Any) -> None:
    assert shown(host, n=node("ToyNumber", value=3)) == "3"


def test_combo(host: Any) -> None:
    assert shown(host, n=node("ToyOdd", form="tuple")) == "7"
    assert "form" in refused(host, n=node("ToyOdd", form="other"))


def test_required_means_present(host: Any) -> None:
    assert "value" in refused(host, n=node("ToyNumber"))


def test_link_types(host: Any) -> None:
    assert "INT" in refused(host, s=node("ToyLatent", seed=1), n=node("ToyNumber", value=["s", 0]))


def test_node_checks_its_inputs(host: Any) -> None:
    assert "expected a good word" in refused(host, n=node("ToyChecked", word="bad", flag=True, size=1))


def test_cycle(host: Any) -> None:
    found = refused(host, n=node("ToyAsync", value=["m", 0]), m=node("ToyAsync", value=["n", 0]))
    assert "n (ToyAsync) -> m (ToyAsync) -> n (ToyAsync)" in found


def test_no_output_node(host: Any) -> None:
    assert host.run({"n": node("ToyNumber", value=1)}).ended == "refused"


def test_unknown_node(host: Any) -> None:
    assert host.run({"n": node("ToyNumbre", value=1), "s": node("ToyShow", value=1)}).ended == "refused"


def test_unknown_input_is_ignored(host: Any) -> None:
    assert shown(host, n=node("ToyNumber", value=1, valeu=2)) == "1"


def test_hidden_values(host: Any) -> None:
    outcome = host.run(
        {
            "a": node("ToyWho"),
            "b": node("ToyWho"),
            "s": node("ToyShow", value=["a", 0]),
            "t": node("ToyShow", value=["b", 0]),
        }
    )
    assert outcome.ui["s"]["text"] == ["'a None' (None, ['a', 'b', 's', 't'], None)"]
    assert outcome.ui["t"]["text"][0].startswith("'b None'")


def test_classes_are_locked_and_gradients_off(host: Any) -> None:
    assert shown(host, n=node("ToyLocked")) == "'locked'"


def test_async(host: Any) -> None:
    assert shown(host, n=node("ToyAsync", value=2)) == "3"


@pytest.mark.parametrize("form", ["output", "tuple", "dict"])
def test_forms_of_results(host: Any, form: str) -> None:
    assert shown(host, n=node("ToyOdd", form=form, value=4)) == "4"


@pytest.mark.parametrize("form", ["word", "value error", "runtime error"])
def test_failures(host: Any, form: str) -> None:
    prompt = {"n": node("ToyOdd", "the odd one", form=form), "show": node("ToyShow", value=["n", 0])}
    outcome = host.run(prompt)
    assert outcome.ended == "failed"
    assert "n" in outcome.error
    if host.name == "standalone":
        assert outcome.error.startswith("node n (ToyOdd, 'the odd one'): ")
        assert "\n" not in outcome.error


def test_caching(host: Any) -> None:
    prompt = {
        "a": node("ToyNumber", value=1),
        "n": node("ToySum", items__item0=["a", 0]),
        "s": node("ToyShow", value=["n", 0]),
    }
    first = host.run(prompt)
    assert sorted(host.log) == ["ToyNumber", "ToyShow", "ToySum"]
    assert host.run({**prompt, "n": {**prompt["n"], "_meta": {"title": "new title"}}}).ui == first.ui
    assert host.log in ([], ["ToyShow"])
    host.run({**prompt, "a": node("ToyNumber", value=2)})
    assert sorted(host.log) == ["ToyNumber", "ToyShow", "ToySum"]


@pytest.mark.parametrize(("how", "runs"), [("same", 0), ("nan", 1), ("fails", 1)])
def test_fingerprints(host: Any, how: str, runs: int) -> None:
    prompt = {
        "a": node("ToyNumber", value=1),
        "n": node("ToyChanged", how=how, value=["a", 0]),
        "s": node("ToyShow", value=["n", 0]),
    }
    host.run(prompt)
    host.run(prompt)
    assert host.log.count("ToyChanged") == runs


def test_equal_nodes_run_once(host: Any) -> None:
    items: dict[str, Any] = {"items__item0": ["a", 0], "items__item1": ["b", 0]}
    assert shown(host, a=node("ToyNumber", value=2), b=node("ToyNumber", value=2), n=node("ToySum", **items)) == "4"
    assert host.log.count("ToyNumber") == 1


def test_finished_nodes_are_kept_after_a_failure(host: Any) -> None:
    prompt = {
        "a": node("ToyNumber", value=3),
        "n": node("ToyOdd", form="value error", value=["a", 0]),
        "s": node("ToyShow", value=["n", 0]),
    }
    assert host.run(prompt).ended == "failed"
    assert host.run(prompt).ended == "failed"
    assert host.log == ["ToyOdd"]


@pytest.mark.parametrize("silent", [False, True])
def test_interruption(host: Any, silent: bool) -> None:
    def stop_once_running() -> None:
        while "ToySlow" not in host.log:
            time.sleep(0.01)
        host.stop()

    stopper = threading.Thread(target=stop_once_running, daemon=True)
    stopper.start()
    assert host.run({"n": node("ToySlow", silent=silent), "s": node("ToyShow", value=["n", 0])}).ended == "interrupted"
    stopper.join()
    assert shown(host, n=node("ToyNumber", value=1)) == "1"  # the flag does not stay
