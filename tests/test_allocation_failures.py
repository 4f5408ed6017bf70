"""Memory that runs out at any moment: the stage goes on in a cheaper way and says so, or ends with one line.

Simulated: one tensor operation fails as an allocation does, each time another one, over sampling and decoding.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from openltx.nodes.conditioning import EncodePrompt
from openltx.nodes.decode import DecodeAudio, DecodeVideo
from openltx.nodes.host.standalone.runtime import Call, Observer, calling
from openltx.nodes.latents import EmptyAVLatent, members
from openltx.nodes.load import INSIDE, LoadModel
from openltx.nodes.sample import Sample

POINTS = 50
SIGMAS = torch.tensor([1.0, 0.5, 0.0])
TEXT = "CUDA out of memory. Tried to allocate 2.00 GiB"
CLOSE = 2e-2  # of frames and samples whose pieces are other ones


@pytest.fixture(scope="module")
def parts() -> Any:
    return LoadModel.execute("openltx-tiny-2.3.safetensors", INSIDE, "float32").args


@pytest.fixture(scope="module")
def job(parts: Any) -> Callable[[], list[Tensor]]:
    model, text, video, audio = parts
    with torch.inference_mode():
        positive = EncodePrompt.execute(text, "a ball").args[0]
        latent = EmptyAVLatent.execute(model, 64, 64, 9, 24.0).args[0]

    @torch.inference_mode()
    def made() -> list[Tensor]:
        finished = Sample.execute(model, positive, latent, SIGMAS, 3, 1.0, 1.0, keep_after=-1).args[0]
        pictures = DecodeVideo.execute(video, finished).args[0]
        sound = DecodeAudio.execute(audio, finished).args[0]["waveform"]
        return [*members(finished).present(), pictures, sound]

    return made


class Told(Observer):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def warning(self, text: str) -> None:
        self.lines.append(text)


class Failing(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts operations that give new memory; the one of number `at` fails, once."""

    def __init__(self, at: int | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.at, self.count = at, 0

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        made = out if isinstance(out, (tuple, list)) else (out,)
        if any(isinstance(tensor, Tensor) and not tensor.is_meta for tensor in made):
            self.count += 1
            if self.count == self.at:
                raise torch.OutOfMemoryError(TEXT)
        return out


def held() -> int:
    """Bytes of all tensors of this process."""
    gc.collect()
    storages = {}
    for found in gc.get_objects():
        if isinstance(found, Tensor) and not found.is_meta:
            storages[found.untyped_storage().data_ptr()] = found.untyped_storage().nbytes()
    return sum(storages.values())


def test_memory_that_runs_out_anywhere_costs_no_more_than_the_run(job: Callable[[], list[Tensor]]) -> None:
    observer = Told()
    with calling(Call(node_id="1", observer=observer)):
        run_out_everywhere(job, observer.lines)


def run_out_everywhere(job: Callable[[], list[Tensor]], told: list[str]) -> None:
    job()  # whatever is kept from run to run is there then
    with Failing(None) as whole:
        expected = job()
    before, completed = held(), 0
    for point in range(POINTS):
        told.clear()
        short, found, line = Failing(1 + point * whole.count // POINTS), None, ""
        with short:
            try:
                found = job()
            except (torch.OutOfMemoryError, ValueError) as error:
                line = str(error)
        where = f"point {point}, operation {short.at}"
        assert short.count >= (short.at or 0), f"{where}: nothing failed"
        if found is not None:
            completed += 1
            assert [text.split(":")[0] for text in told] == ["out of memory"], f"{where}: {told}"
            close = [torch.allclose(a, b, atol=CLOSE) for a, b in zip(found, expected, strict=True)]
            assert all(close), f"{where}: {close}"
        else:
            assert len(line.splitlines()) == 1, f"{where}: {line}"
            assert "out of memory" in line, f"{where}: {line}"
        del found
        assert held() <= before * 1.01, f"{where}: {held()} bytes are held, {before} before"
    told.clear()
    assert all(torch.equal(a, b) for a, b in zip(job(), expected, strict=True)), "a run right after differs"
    assert told == []
    assert completed > POINTS // 5, f"completed {completed} of {POINTS}"  # a clip so small has few cheaper ways
