"""What another pack adds by name is offered and acts: a step rule, a text rule, a container; and an item of its own."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import av
import pytest
import torch

from openltx import extensions, run
from openltx.api import load_workflow
from openltx.media.codecs import CONTAINERS, containers
from openltx.nodes.guide import TEXT_RULES, StreamGuidance, text_rule_of
from openltx.nodes.latents import EmptyAVLatent, items_of
from openltx.nodes.load import LoadModel
from openltx.nodes.rules import AddedRule, NamedRule, Sampler
from openltx.nodes.save import SaveAV
from openltx.nodes.start import start_of
from openltx.samplers.denoiser import Denoised
from openltx.samplers.state import fresh_state
from openltx.samplers.streams import Streams

SMALL = {"width": 64, "height": 64, "frames": 9}


@pytest.fixture
def pack(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The example, loaded by its path as ComfyUI does; what it added is gone afterwards."""
    monkeypatch.setitem(sys.modules, extensions.TABLE, ModuleType(extensions.TABLE))
    spec = importlib.util.spec_from_file_location("a_pack", Path(__file__).with_name("example_pack.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "a_pack", module)
    spec.loader.exec_module(module)
    return module


def options(node: type[Any], name: str) -> list[str]:
    (given,) = (given for given in node.define_schema().inputs if given.id == name)
    return list(given.options)


def test_nothing_is_offered_without_a_pack() -> None:
    assert "halfway" not in options(Sampler, "rule")
    assert options(StreamGuidance, "text_rule") == TEXT_RULES
    assert containers() == CONTAINERS


@pytest.mark.usefixtures("pack")
def test_what_was_added_is_offered() -> None:
    assert options(Sampler, "rule")[-1] == "halfway"
    assert options(StreamGuidance, "text_rule")[-1] == "softened"
    assert options(SaveAV, "container")[-1] == "ts"
    assert float(text_rule_of("softened", 1, 0, 0).delta(torch.ones(1), torch.zeros(1), 3.0, None)[0]) == 1.0


@pytest.mark.usefixtures("pack")
def test_a_step_rule_acts_as_ours() -> None:
    """The example is Euler's rule written in another way."""
    generator = torch.Generator().manual_seed(0)
    states = Streams(video=fresh_state(torch.randn(1, 6, 4, generator=generator), torch.zeros(1, 3, 6, 2)))

    def denoise(latents: Streams[Any], sigma: torch.Tensor, step: int | None = None, /) -> Denoised:
        return Denoised(x0=latents.map(lambda x: torch.tanh(x * (1 - sigma))))

    sigmas, seen = torch.tensor([1.0, 0.6, 0.3, 0.0]), []
    given: tuple[Any, Any, Any, Any] = (denoise, states, sigmas, None)
    ours = NamedRule(name="euler").run(*given, None).video
    theirs = Sampler.execute("halfway", 1.0, 1.0, 2.0, -1).args[0]
    assert theirs == AddedRule(name="halfway")
    found = theirs.run(*given, lambda report: seen.append(report.index)).video
    torch.testing.assert_close(found, ours)
    assert seen == [0, 1, 2]
    with pytest.raises(FloatingPointError, match="step 1 of 3"):  # our guards hold for it too
        theirs.run(lambda *_: Denoised(x0=states.map(lambda s: s.latent * torch.nan)), states, sigmas, None, None)


@pytest.mark.usefixtures("pack")
def test_a_workflow_runs_with_them(tmp_path: Path) -> None:
    prompt = load_workflow("retake")
    (rule,) = (node for node in prompt.values() if node["class_type"] == "OpenLTXSampler")
    rule["inputs"]["rule"] = "halfway"
    result = run(prompt, output=tmp_path / "clip.ts")
    with av.open(str(result.files[0])) as container:
        assert container.format.name == "mpegts"
        assert sum(1 for _ in container.decode(video=0)) > 1


def test_an_item_of_another_pack(pack: ModuleType) -> None:
    model = LoadModel.execute("openltx-tiny-2.3.safetensors", "inside the checkpoint", "auto").args[0]
    latent = EmptyAVLatent.execute(model, 64, 64, 9, 24.0).args[0]
    changed = pack.darken(latent, 0.25)
    assert len(items_of(changed).video or ()) == 1
    plain, dark = (
        start_of(one, [[torch.zeros(1, 1, 1), {}]], model, torch.device("cpu")).states.video
        for one in (latent, changed)
    )
    assert plain is not None
    assert dark is not None
    assert torch.equal(dark.mask, plain.mask * 0.5)


def test_our_names_cannot_be_taken(pack: ModuleType) -> None:
    extensions.add("step_rules", "euler", pack.halfway)
    assert options(Sampler, "rule").count("euler") == 1
    assert isinstance(Sampler.execute("euler", 1.0, 1.0, 2.0, -1).args[0], NamedRule)
    with pytest.raises(ValueError, match=r"expected one of step_rules, text_rules, containers, found 'nodes'"):
        extensions.add("nodes", "mine", pack.halfway)


def test_a_copy_of_ours_sees_the_same_table(pack: ModuleType) -> None:
    """ComfyUI loads the package under another name."""
    source = Path(extensions.__file__)
    spec = importlib.util.spec_from_file_location("copy_of_extensions", source)
    assert spec is not None
    assert spec.loader is not None
    copy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(copy)
    assert copy.added("step_rules", beside=())["halfway"] is pack.halfway
