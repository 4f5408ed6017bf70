"""Python's garbage collector, out of the way while thousands of small objects are made that all stay."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Inside, nobody looks for cycles: each search would walk over everything that the program holds, for nothing.

    Also a decorator. Where several threads are inside, the first that leaves may bring the collector back.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
