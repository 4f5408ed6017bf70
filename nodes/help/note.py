"""What people say of a node on its help page."""

from __future__ import annotations

from dataclasses import dataclass

from ...networks.video_vae.memory import GIB, WORKSPACE


@dataclass(frozen=True, kw_only=True)
class Note:
    """All optional. use: a paragraph after the description; memory: one below the outputs."""

    use: str = ""
    memory: str = ""
    errors: tuple[str, ...] = ()


def gigabytes(count: int) -> str:
    """What to plan for on a device where our own count of bytes is this."""
    return f"{WORKSPACE * count / GIB:.0f} GiB"
