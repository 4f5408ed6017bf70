"""Progress bars on stderr, one a node that reports progress; nothing where stderr is no terminal."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from .runtime import Observer

if TYPE_CHECKING:
    from PIL.Image import Image


class Bars(Observer):
    """`with Bars() as observer: …` closes the bar that is open, whatever happens."""

    def __init__(self) -> None:
        self._title = ""
        self._bar: tqdm[Any] | None = None

    def __enter__(self) -> Bars:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close()

    def node_started(self, node_id: str, title: str) -> None:
        self._close()
        self._title = title

    def node_progress(self, node_id: str, done: int, total: int, preview: Image | None) -> None:
        if self._bar is None:
            # disable=None: only on a terminal. tqdm draws in ASCII by itself where the console knows no blocks.
            self._bar = tqdm([], desc=f"{self._title:<14}", total=total, file=sys.stderr, disable=None)
        self._bar.total = total
        self._bar.update(done - self._bar.n)

    def part(self, title: str, done: int, total: int) -> None:
        """A bar of something that is no node; another title begins another bar."""
        if title != self._title:
            self.node_started("", title)
        self.node_progress("", done, total, None)

    def node_finished(self, node_id: str, *, cached: bool) -> None:
        self._close()

    def warning(self, text: str) -> None:
        tqdm.write(f"openltx: warning: {text}", file=sys.stderr)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
