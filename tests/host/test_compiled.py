"""TorchCompileModel: one graph for all blocks, the same numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch


def test_blocks_are_compiled_once(graphs: Any, side: Any) -> None:
    """With a compiler that only counts the graphs that it is given: making fast code of them takes minutes."""
    import nodes  # type: ignore[import-not-found]  # ComfyUI's

    counted: list[int] = []

    def counting(graph: torch.fx.GraphModule, inputs: Sequence[Any]) -> Callable[..., Any]:
        counted.append(len(graph.graph.nodes))
        return graph.forward

    class Compiled:
        """What TorchCompileModel does, with this compiler."""

        CATEGORY, FUNCTION, RETURN_TYPES = "test", "compile", ("MODEL",)

        @classmethod
        def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
            return {"required": {"model": ("MODEL",)}}

        def compile(self, model: Any) -> tuple[Any]:
            from comfy_api.torch_helpers import set_torch_compile_wrapper

            changed = model.clone()
            set_torch_compile_wrapper(model=changed, backend=counting)
            return (changed,)

    nodes.NODE_CLASS_MAPPINGS["Compiled"] = Compiled
    graph = {**side.stage(frames=9), "compiled": side.node("Compiled", model=["load", 0])}
    found = graphs.run({**graph, **side.cores(1.0, model="compiled")}, ("out", 0))["samples"].unbind()
    plain = graphs.run({**side.stage(frames=9), **side.cores(1.0)}, ("out", 0))["samples"].unbind()
    assert len(counted) == 1
    for one, other in zip(found, plain, strict=True):
        assert torch.allclose(one, other, atol=1e-4)
