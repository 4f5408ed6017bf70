"""One module a library: `build(case)` → a call that returns the outputs in our layout. Peers are black boxes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


class Unsupported(Exception):
    """The library cannot compute this case; says why."""


class _NoRandomNumbers(TorchFunctionMode):
    """Parameters get their values from the case: drawing them first would take minutes."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (Tensor.uniform_, Tensor.normal_):
            return args[0]
        return func(*args, **(kwargs or {}))


def loaded(build: Callable[[], nn.Module], state: Mapping[str, Tensor], *, missing: tuple[str, ...] = ()) -> Any:
    """A network with exactly these tensors, on their device; only names that contain one of `missing` may lack them."""
    with _NoRandomNumbers():
        network = build()
    found = network.load_state_dict(dict(state), strict=False, assign=True)
    left_out = [name for name in found.missing_keys if not any(part in name for part in missing)]
    if left_out or found.unexpected_keys:
        raise Unsupported(f"its tensors differ: lacks {left_out[:3]}, does not know {found.unexpected_keys[:3]}")
    return network.eval().requires_grad_(False).to(next(iter(state.values())).device)
