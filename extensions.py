"""What other packs and scripts add by name: step rules, text rules and containers. Stable: names here do not change.

A script says `from openltx import extensions; extensions.add("step_rules", "mine", function)`. A pack in ComfyUI cannot
import us, as ComfyUI loads packages under names of its own, in any order; it writes into the same table by itself:

    table = sys.modules.setdefault("openltx_extensions", types.ModuleType("openltx_extensions"))
    vars(table).setdefault("step_rules", {})["mine"] = function

- **step_rules**: `(latents, denoised, sigma, next_sigma) -> latents`, one step. `latents` and `denoised.x0` hold
  `video` and `audio` (B, T, C), either None, and `map(function, *others)`; the sigmas are numbers on the CPU. With
  `needs_unconditioned = True` on the function, `denoised.unconditioned` is there too. Offered by Step Rule (LTX).
- **text_rules**: an object with `neutral` (the scale at which it adds nothing) and `delta(c, u, scale, running) ->
  (what is added to c, the next running)`, tensors (B, T, C). Offered by Stream Guidance (LTX).
- **containers**: by suffix (".ts"), the fields of media/codecs.py `ContainerKind` as a dict. Offered by Save AV (LTX).

A conditioning item needs no name: a node of any pack appends a frozen object with `apply(state) -> state` to the tuple
`latent["openltx_video_items"]` or `latent["openltx_audio_items"]` of a LATENT. tests/example_pack.py does all four.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from types import ModuleType
from typing import Any

KINDS = ("step_rules", "text_rules", "containers")
TABLE = "openltx_extensions"  # of sys.modules: one for the process, however often we are loaded in it


def add(kind: str, name: str, value: Any) -> None:
    """Offer `value` under `name`; a second one of that name takes its place. Raises ValueError for an unknown kind."""
    if kind not in KINDS:
        raise ValueError(f"extensions: expected one of {', '.join(KINDS)}, found {kind!r}")
    vars(_table()).setdefault(kind, {})[name] = value


def added(kind: str, *, beside: Iterable[str]) -> dict[str, Any]:
    """What was added of this kind, by name. `beside`: our own names, which nobody can take."""
    assert kind in KINDS, kind
    own = set(beside)
    return {name: value for name, value in vars(_table()).get(kind, {}).items() if name not in own}


def _table() -> ModuleType:
    return sys.modules.setdefault(TABLE, ModuleType(TABLE))
