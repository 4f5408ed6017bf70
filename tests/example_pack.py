"""A pack of somebody else: it knows no module of OpenLTX. See extensions.py for what it may rely on."""

import sys
import types
from dataclasses import dataclass, replace
from typing import Any

TABLE = vars(sys.modules.setdefault("openltx_extensions", types.ModuleType("openltx_extensions")))


def halfway(latents: Any, denoised: Any, sigma: Any, next_sigma: Any) -> Any:
    """A step rule: Euler's step, by the share of noise that goes."""
    share = float(next_sigma / sigma)
    return latents.map(lambda x, x0: x0 + (x - x0) * share, denoised.x0)


class Softened:
    """A text rule: guidance at half its scale."""

    neutral = 1.0

    def delta(self, c: Any, u: Any, scale: float, running: Any) -> Any:
        return (scale - 1.0) / 2 * (c - u), None


@dataclass(frozen=True)
class Darkened:
    """A conditioning item: what is kept of the stream is scaled."""

    factor: float

    def apply(self, state: Any) -> Any:
        return replace(state, latent=state.latent * self.factor, mask=state.mask * 0.5)


TABLE.setdefault("step_rules", {})["halfway"] = halfway
TABLE.setdefault("text_rules", {})["softened"] = Softened()
TABLE.setdefault("containers", {})[".ts"] = {"format": "mpegts", "video": ("h264",), "audio": ("aac",)}


def darken(latent: dict[str, Any], factor: float) -> dict[str, Any]:
    """What a node of this pack would return."""
    return latent | {"openltx_video_items": (*latent.get("openltx_video_items", ()), Darkened(factor))}
