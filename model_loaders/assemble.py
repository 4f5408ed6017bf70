"""Network without storage + tensors of a file → network with weights, or a short report of what does not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .checkpoint import Checkpoint, CheckpointError
from .collector import uncollected

Network = TypeVar("Network", bound=nn.Module)


def strip_prefix(names: Iterable[str], prefix: str) -> dict[str, str]:
    """{parameter name: name in the file} for the names that start with `prefix`."""
    return {name[len(prefix) :]: name for name in names if name.startswith(prefix)}


@uncollected()
def assemble(build: Callable[[], Network], checkpoint: Checkpoint, tensors: Mapping[str, str], *, what: str) -> Network:
    """Build a network on the meta device and assign it the tensors of a file.

    tensors: {parameter name: name in the file}; its names and shapes must be exactly those of the network.
    Parameters keep the dtype of the file and stay memory-mapped until first use. The network comes back in
    evaluation mode with gradients off. Raises CheckpointError with a report of at most five lines.
    """
    checkpoint.read_ahead(tensors.values())
    network = build_on_meta(build)
    refuse_mismatch(network, {name: checkpoint.entries[key].shape for name, key in tensors.items()}, checkpoint, what)
    loaded = checkpoint.load(list(tensors.values()))
    return assign(network, {name: loaded[key] for name, key in tensors.items()})


def build_on_meta(build: Callable[[], Network]) -> Network:
    """The network's structure without storage and without the cost of random initialisation."""
    with torch.device("meta"), _NoInitialisation():
        return build()


class _NoInitialisation(TorchFunctionMode):
    """Leaves out `nn.init`: on the meta device it changes nothing, but costs a third of a network's construction."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        options = kwargs or {}
        if getattr(func, "__module__", None) == nn.init.__name__:
            return options["tensor"] if "tensor" in options else args[0]
        return func(*args, **options)


def assign(network: Network, state: Mapping[str, Tensor]) -> Network:
    """Give the network its tensors, as they are: names and shapes must be those of its state.

    A host's layers that take their tensors in a way of their own do so.
    """
    if any(type(module)._load_from_state_dict is not nn.Module._load_from_state_dict for module in network.modules()):
        network.load_state_dict(dict(state), strict=True, assign=True)
        return network.eval().requires_grad_(False)
    expected = network.state_dict()
    assert expected.keys() == state.keys(), sorted(expected.keys() ^ state.keys())[:3]
    modules = dict(network.named_modules(remove_duplicate=False))
    parameters = {name for name, _ in network.named_parameters(remove_duplicate=False)}
    for name, tensor in state.items():
        assert expected[name].shape == tensor.shape, (name, expected[name].shape, tensor.shape)
        owner, _, key = name.rpartition(".")
        setattr(modules[owner], key, nn.Parameter(tensor, requires_grad=False) if name in parameters else tensor)
    return network.eval().requires_grad_(False)


def refuse_mismatch(
    network: nn.Module, found: Mapping[str, tuple[int, ...]], checkpoint: Checkpoint, what: str
) -> None:
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    missing = sorted(expected.keys() - found.keys())
    unknown = sorted(found.keys() - expected.keys())
    wrong = sorted(name for name in expected.keys() & found.keys() if expected[name] != tuple(found[name]))
    if not (missing or unknown or wrong):
        return
    lines = [
        f"{checkpoint.path}: does not hold the {what} that its configuration describes "
        f"({len(missing)} tensors missing, {len(unknown)} unknown, {len(wrong)} of another shape); "
        "use the file of the same model generation"
    ]
    if missing:
        lines.append(f"  missing: {_some(missing)}")
    if unknown:
        lines.append(f"  unknown: {_some(unknown)}")
    if wrong:
        name = wrong[0]
        lines.append(f"  shape of {name}: expected {expected[name]}, found {tuple(found[name])}")
    raise CheckpointError("\n".join(lines))


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown}, … ({len(names)} in all)"
