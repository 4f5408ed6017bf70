"""Shared fixtures: golden folders, peak memory, and a clear word when the package is not installed."""

from __future__ import annotations

import importlib.util
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

ROOT = Path(__file__).resolve().parents[1]

if importlib.util.find_spec("openltx") is None:
    raise pytest.UsageError("openltx is not installed; run: pip install -e '.[test]'")


def golden_roots() -> list[Path]:
    """The project's own vectors, and the full set where it lies beside the checkout."""
    roots = [ROOT / "tests" / "golden", ROOT.parent / "shared" / "golden"]
    return [root for root in roots if root.is_dir()]


@pytest.fixture(autouse=True, scope="session")
def _cache_of_shots(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Never the user's own."""
    from openltx.shots.store import empty_cache

    with empty_cache(tmp_path_factory.mktemp("shots")):
        yield


def pytest_report_header() -> str:
    import openltx

    return f"openltx under test: {openltx.__file__}; golden vectors: {', '.join(map(str, golden_roots()))}"


class PeakBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Largest number of bytes alive at once in tensors made (or first seen) inside the `with` block.

    given: tensors that were there before and do not count. device: only tensors of this type; None: of every one.
    """

    def __init__(self, *given: Tensor, device: str | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = 0
        self.known = {tensor.untyped_storage()._cdata for tensor in given}
        self.device = device

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(tensor, Tensor) and self.device in (None, tensor.device.type):
                self._count(tensor.untyped_storage())
        return out

    def _count(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key not in self.known:
            self.known.add(key)
            self.live += storage.nbytes()
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self._drop, key, storage.nbytes())

    def _drop(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.live -= size


@pytest.fixture
def peak_bytes() -> type[PeakBytes]:
    """The measure itself: test modules cannot import each other."""
    return PeakBytes
