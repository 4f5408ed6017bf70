"""Every error of the README's table is raised as it stands there, by what a user does; the table is up to date."""

from __future__ import annotations

import errno
import json
import pickle
import re
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from openltx.api import _usable
from openltx.media.av_reader import read_frames
from openltx.media.targets import whole_file
from openltx.model_loaders.checkpoint import open_checkpoint
from openltx.model_loaders.generations import shared
from openltx.nodes import kept_steps
from openltx.nodes.frames import _next
from openltx.nodes.help import errors
from openltx.nodes.help.troubles import TROUBLES, with_table
from openltx.nodes.host.files import missing_model, next_output
from openltx.nodes.host.standalone.settings import Settings, use
from openltx.nodes.host.standalone.workflow import check_format
from openltx.nodes.host.state_folder import STEP, StateFolder
from openltx.samplers.denoiser import Denoised, GuidedRun
from openltx.samplers.guidance import Guidance
from openltx.samplers.state import video_state
from openltx.samplers.steps.loop import refuse_non_finite
from openltx.samplers.streams import Streams

README = Path(__file__).resolve().parents[1] / "README.md"


def missing(folder: Path) -> None:
    raise missing_model("checkpoints", "a.safetensors", [folder])


def incomplete(folder: Path) -> None:
    (folder / "a.safetensors").write_bytes(struct.pack("<Q", 500) + b'{"a"')
    open_checkpoint(folder / "a.safetensors")


def pickled(folder: Path) -> None:
    (folder / "a.safetensors").write_bytes(pickle.dumps({"a": 1}, protocol=4))
    open_checkpoint(folder / "a.safetensors")


def mixed(folder: Path) -> None:
    shared("2.3", "2", like="a.safetensors", what="video_vae")


def unguided(folder: Path) -> None:
    GuidedRun(Streams(video=Guidance(cfg=3.0)), frozen=Streams(video=False), negative=Streams(video=False))


def out_of_memory(folder: Path) -> None:
    _next(iter(()), torch.OutOfMemoryError("CUDA out of memory"))


def no_number(folder: Path) -> None:
    refuse_non_finite(Denoised(x0=Streams(video=torch.tensor([torch.nan]))), 2, 8)


def full(folder: Path) -> None:
    with whole_file(folder / "a.mp4"):
        raise OSError(errno.ENOSPC, "No space left on device")


def outside(folder: Path) -> None:
    next_output(folder, "../a", ".mp4")


def ui_format(folder: Path) -> None:
    check_format({"nodes": [], "links": []})


def no_media(folder: Path) -> None:
    (folder / "a.mp4").write_text("a letter")
    read_frames(folder / "a.mp4")


def no_device(folder: Path) -> None:
    _usable("cuda:77")


def damaged_state(folder: Path) -> None:
    """A word to the user, and no error: it is raised here for the comparison alone."""
    told: list[str] = []
    states = Streams(video=video_state(torch.ones(1, 4, 1, 1, 1), 24.0))
    with pytest.MonkeyPatch.context() as patch, use(Settings(state=StateFolder(folder), device="cpu")):
        patch.setattr(kept_steps, "warn_user", told.append)
        kept = kept_steps.KeptSteps(lambda: {}, states, 4, after=0)
        kept._files.put(kept._key, STEP, 1, lambda path: path.write_bytes(b"x"))  # type: ignore[union-attr, arg-type]
        assert kept.last() is None
    raise ValueError(told[0])


ACTIONS: tuple[Callable[[Path], None], ...] = (
    *(missing, incomplete, pickled, mixed, unguided, out_of_memory, no_number, full, outside, ui_format, no_media),
    *(no_device, damaged_state),
)


def pattern(says: str) -> str:
    return ".+?".join(map(re.escape, says.split("…")))


@pytest.mark.parametrize("place", range(len(TROUBLES)))
def test_every_error_of_the_table_is_what_the_code_says(place: int, tmp_path: Path) -> None:
    with pytest.raises((ValueError, FloatingPointError)) as raised:
        ACTIONS[place](tmp_path)
    text = str(raised.value)
    assert re.match(pattern(TROUBLES[place].says), text), text
    assert len(text.splitlines()) == 1


def test_there_is_an_action_for_each_row() -> None:
    assert len(ACTIONS) == len(TROUBLES)


def test_the_readme_has_the_table() -> None:
    text = README.read_text(encoding="utf-8")
    assert text == with_table(text), "run python -m openltx.nodes.help"


def test_common_errors_are_texts_without_line_breaks() -> None:
    texts = [value for name, value in vars(errors).items() if name.isupper()]
    assert json.dumps(texts).count("\\n") == 0
