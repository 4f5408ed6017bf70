"""Runs a workflow file with tensors in place of loaders, texts, media and noise: so the recipe itself is tested."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ..nodes.core import CORE_NODES
from ..nodes.host.standalone import io
from ..nodes.host.standalone.executor import run
from ..nodes.host.standalone.runtime import Observer
from ..nodes.host.standalone.schema import registry_of, schema_of
from ..nodes.host.standalone.settings import Settings
from ..nodes.host.standalone.validate import title_of
from ..nodes.registry import NODES
from ..samplers.noise import Draw, SdeNoise
from ..samplers.state import StreamState
from ..samplers.streams import Streams

OUTPUTS = 4  # of a source: as many as the loader with most
Socket = tuple[str, int]
"""An output in a recipe: title of the node, number of the output."""


@dataclass(frozen=True, kw_only=True)
class TensorNoise:
    """NOISE from tensors: start noise by stream (zeros where it has none: it is frozen), draws in their order."""

    video: Tensor | None = None
    audio: Tensor | None = None
    step_draws: Sequence[Streams[Tensor]] = ()
    sde_draws: Sequence[Streams[Tensor]] = ()  # per step: substep, step

    def start(self, states: Streams[StreamState]) -> Streams[Tensor]:
        def given(state: StreamState, noise: Tensor | None) -> Tensor:
            return state.latent.new_zeros(state.latent.shape) if noise is None else noise.to(state.latent)

        return states.map(given, Streams(video=self.video, audio=self.audio))

    def steps(self) -> Draw:
        return _in_order(self.step_draws)

    def sde(self, seed: int) -> SdeNoise:
        return SdeNoise(substep=_in_order(self.sde_draws[::2]), step=_in_order(self.sde_draws[1::2]))


class _Quiet(Observer):
    """Golden cases have odd pictures and sounds: no words about them."""

    def warning(self, text: str) -> None:
        pass


def _in_order(draws: Sequence[Streams[Tensor]]) -> Draw:
    remaining = iter(draws)

    def draw(latents: Streams[Tensor]) -> Streams[Tensor]:
        return latents.map(lambda latent, noise: noise.to(latent), next(remaining))

    return draw


@dataclass(kw_only=True)
class Recipe:
    """A workflow whose nodes are spoken of by their titles. Nothing runs but what `run` is asked for."""

    prompt: dict[str, Any]
    _values: dict[str, list[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.prompt = copy.deepcopy(self.prompt)
        self._ids = {title_of(entry) or node_id: node_id for node_id, entry in self.prompt.items()}

    def titles(self) -> list[str]:
        """The titles of all nodes."""
        return list(self._ids)

    def add(self, title: str) -> Recipe:
        """A node that the file does not have: make it a source."""
        self._ids[title] = title
        self.prompt[title] = {"_meta": {"title": title}}
        return self

    def source(self, title: str, *values: Any) -> Recipe:
        """The node gives these values instead of running."""
        self._values[title] = [*values, *[None] * (OUTPUTS - len(values))]
        self._entry(title).update(class_type="ConformanceSource", inputs={"name": title})
        return self

    def set(self, title: str, **inputs: Any) -> Recipe:
        """Values for inputs that the node has in the file: a misspelt one shows."""
        entry = self._entry(title)["inputs"]
        assert inputs.keys() <= entry.keys(), f"{title}: no such inputs {inputs.keys() - entry.keys()}"
        entry.update(inputs)
        return self

    def link(self, title: str, name: str, source: Socket | None) -> Recipe:
        """Another source for an input, or none."""
        inputs = self._entry(title)["inputs"]
        inputs.pop(name, None)
        if source is not None:
            inputs[name] = self._link(source)
        return self

    def run(self, device: str, /, **wanted: Socket) -> dict[str, Any]:
        """The values at these sockets, by the names that they are given here. Nodes that save are left out."""
        found: dict[str, Any] = {}
        registry = registry_of([*NODES, *CORE_NODES, _source(self._values), _capture(found)])
        prompt = {
            node_id: entry
            for node_id, entry in self.prompt.items()
            if not schema_of(registry[entry["class_type"]]).is_output_node
        }
        for name, socket in wanted.items():
            inputs = {"name": name, "value": self._link(socket)}
            prompt[f"wanted {name}"] = {"class_type": "ConformanceCapture", "inputs": inputs}
        run(prompt, registry, settings=Settings(device=device), observer=_Quiet())
        return found

    def _entry(self, title: str) -> dict[str, Any]:
        assert title in self._ids, f"{title}: not in this recipe, which has {', '.join(self._ids)}"
        entry: dict[str, Any] = self.prompt[self._ids[title]]
        return entry

    def _link(self, socket: Socket) -> list[Any]:
        self._entry(socket[0])
        return [self._ids[socket[0]], socket[1]]


def _source(values: dict[str, list[Any]]) -> type[io.ComfyNode]:
    class Source(io.ComfyNode):
        @classmethod
        def define_schema(cls) -> io.Schema:
            return io.Schema(
                node_id="ConformanceSource",
                inputs=[io.String.Input("name")],
                outputs=[io.AnyType.Output(f"value{index}") for index in range(OUTPUTS)],
            )

        @classmethod
        def execute(cls, name: str) -> io.NodeOutput:
            return io.NodeOutput(*values[name])

    return Source


def _capture(found: dict[str, Any]) -> type[io.ComfyNode]:
    class Capture(io.ComfyNode):
        @classmethod
        def define_schema(cls) -> io.Schema:
            inputs = [io.String.Input("name"), io.AnyType.Input("value")]
            return io.Schema(node_id="ConformanceCapture", is_output_node=True, inputs=inputs)

        @classmethod
        def execute(cls, name: str, value: Any) -> io.NodeOutput:
            found[name] = value
            return io.NodeOutput()

    return Capture
