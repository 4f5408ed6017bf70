"""The standalone executor: what lives how long, who is told what, how failures look."""

from __future__ import annotations

import gc
import signal
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from openltx.nodes.host.api import check_interrupted, io, output_file, progress, ui, warn_user
from openltx.nodes.host.standalone.errors import NodeError, NodeUserError
from openltx.nodes.host.standalone.executor import Cache, run
from openltx.nodes.host.standalone.runtime import Interrupted, Observer, stopped_by_ctrl_c
from openltx.nodes.host.standalone.schema import registry_of
from openltx.nodes.host.standalone.settings import Settings

Prompt = dict[str, Any]
Action = Callable[[], Any]


class Big:
    """Something that must not live too long."""


alive: weakref.WeakSet[Big] = weakref.WeakSet()
action: dict[str, Action] = {}


class Load(io.ComfyNode):
    """Two large parts at once, like a checkpoint loader."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(node_id="Load", outputs=[io.Clip.Output("clip"), io.Vae.Output("vae")])

    @classmethod
    def execute(cls) -> io.NodeOutput:
        parts = Big(), Big()
        for part in parts:
            alive.add(part)
        return io.NodeOutput(*parts)


class Encode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(node_id="Encode", inputs=[io.Clip.Input("clip")], outputs=[io.Conditioning.Output()])

    @classmethod
    def execute(cls, clip: Big) -> io.NodeOutput:
        return io.NodeOutput("encoded")


class Decode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [io.Conditioning.Input("context"), io.Vae.Input("vae", optional=True)]
        return io.Schema(node_id="Decode", inputs=[*inputs], outputs=[io.Int.Output()], is_output_node=True)

    @classmethod
    def execute(cls, context: str, vae: Big | None = None) -> io.NodeOutput:
        gc.collect()
        return io.NodeOutput(len(alive), ui=ui.PreviewText(context))


class Act(io.ComfyNode):
    """Does what the test says."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(node_id="Act", inputs=[io.String.Input("name")], is_output_node=True)

    @classmethod
    def execute(cls, name: str) -> Any:
        return action[name]()


REGISTRY = registry_of([Load, Encode, Decode, Act])


def node(class_type: str, title: str | None = None, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs} | ({"_meta": {"title": title}} if title else {})


def act(work: Action, **options: Any) -> Any:
    action["it"] = work
    return run({"1": node("Act", "the actor", name="it")}, REGISTRY, **options)


class Notes(Observer):
    def __init__(self) -> None:
        self.lines: list[tuple[Any, ...]] = []

    def node_started(self, node_id: str, title: str) -> None:
        self.lines.append(("started", node_id, title))

    def node_progress(self, node_id: str, done: int, total: int, preview: Any) -> None:
        self.lines.append((node_id, done, total, preview))

    def node_finished(self, node_id: str, *, cached: bool) -> None:
        self.lines.append(("finished", node_id, cached))

    def warning(self, text: str) -> None:
        self.lines.append(("warning", text))


CHAIN = {
    "l": node("Load"),
    "e": node("Encode", clip=["l", 0]),
    "d": node("Decode", context=["e", 0], vae=["l", 1]),
}


def test_a_value_goes_after_its_last_consumer() -> None:
    results = run(CHAIN, REGISTRY)
    assert results["d"].values == [1]  # the text encoder was gone, the decoder was not
    assert results["d"].ui == {"text": ("encoded",)}


def test_unused_values_go_at_once() -> None:
    prompt = {**CHAIN, "d": node("Decode", context=["e", 0])}
    assert run(prompt, REGISTRY)["d"].values == [0]


def test_a_cache_keeps_the_last_workflow_only() -> None:
    cache, notes = Cache(), Notes()
    assert run(CHAIN, REGISTRY, keep=cache)["d"].values == [2]
    run({**CHAIN, "d": {**CHAIN["d"], "_meta": {"title": "t"}}}, REGISTRY, keep=cache, observer=notes)
    assert notes.lines == [("finished", name, True) for name in "led"]
    act(lambda: None, keep=cache)
    gc.collect()
    assert len(cache.results) == 1
    assert not alive


def test_progress_is_reported_with_node_and_total() -> None:
    def work() -> None:
        with progress(3) as steps:
            steps.update()
            steps.update(5)
            steps.update_absolute(1, total=4)

    notes = Notes()
    act(work, observer=notes)
    assert notes.lines == [
        ("started", "1", "the actor"),
        ("1", 1, 3, None),
        ("1", 3, 3, None),
        ("1", 1, 4, None),
        ("finished", "1", False),
    ]


def test_progress_from_a_thread_of_the_node() -> None:
    def work() -> None:
        steps = progress(2)
        thread = threading.Thread(target=steps.update)
        thread.start()
        thread.join()

    notes = Notes()
    act(work, observer=notes)
    assert ("1", 1, 2, None) in notes.lines


@pytest.mark.parametrize("look", [check_interrupted, lambda: progress(2).update()])
def test_interruption_passes_untouched(look: Action) -> None:
    stop = threading.Event()

    def work() -> None:
        stop.set()
        try:
            look()
        except Exception as error:
            raise AssertionError("a node must not swallow it") from error

    with pytest.raises(Interrupted):
        act(work, stop=stop)


def test_ctrl_c_stops_in_order() -> None:
    def work() -> None:
        signal.raise_signal(signal.SIGINT)
        check_interrupted()

    stop = threading.Event()
    with stopped_by_ctrl_c(stop), pytest.raises(Interrupted):
        act(work, stop=stop)


def test_outside_a_run_nothing_stops_and_nobody_listens(capsys: pytest.CaptureFixture[str]) -> None:
    check_interrupted()
    progress(1).update()
    warn_user("careful")
    assert capsys.readouterr().err == "openltx: warning: careful\n"


def test_errors_are_one_line_with_their_cause() -> None:
    def fail(error: Exception) -> Action:
        def work() -> None:
            raise error

        return work

    with pytest.raises(NodeUserError, match=r"^node 1 \(Act, 'the actor'\): expected more$") as caught:
        act(fail(ValueError("expected more")))
    assert isinstance(caught.value, ValueError)
    with pytest.raises(NodeError, match=r"^node 1 \(Act, 'the actor'\): KeyError: 'x'$") as failed:
        act(fail(KeyError("x")))
    assert isinstance(failed.value.__cause__, KeyError)
    assert not isinstance(failed.value, ValueError)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ((1,), "TypeError: expected 0 results, as the schema has outputs, the node returned 1"),
        ("word", "TypeError: expected NodeOutput, a tuple, a dict of result and ui, or None, the node returned str"),
        ({"result": (), "expand": {}}, "the node returned dict"),
    ],
)
def test_other_answers_are_refused(answer: Any, text: str) -> None:
    with pytest.raises(NodeError, match=text):
        act(lambda: answer)


def test_inference_mode_ends_with_the_node() -> None:
    seen: list[bool] = []
    act(lambda: seen.append(torch.is_inference_mode_enabled()))
    assert seen == [True]
    assert not torch.is_inference_mode_enabled()


def test_settings_hold_for_one_run(tmp_path: Path) -> None:
    names: list[Path] = []
    act(lambda: names.append(output_file("a b/c", ".mp4").path), settings=Settings(output_folder=tmp_path))
    assert names == [tmp_path / "a b" / "c_00001_.mp4"]


def test_images_are_shown_from_the_temporary_folder(tmp_path: Path) -> None:
    def work() -> io.NodeOutput:
        return io.NodeOutput(ui=ui.PreviewImage(torch.rand(2, 4, 6, 3)))

    shown = act(work, settings=Settings(temp_folder=tmp_path))["1"].ui
    assert [image["type"] for image in shown["images"]] == ["temp", "temp"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["preview_00001_.png", "preview_00002_.png"]


def test_system_exit_ends_the_process() -> None:
    def work() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        act(work)
