"""Our nodes with ComfyUI's objects on their wires: inputs become handles, outputs become native objects.

Nodes are written once, against our own handles. What travels in ComfyUI is its own kind of object, so that everybody's
nodes fit in between; the change happens here, by the types that a node's schema names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .clip import ENCODING, foreign_clip, is_foreign_clip, native_clip, own_clip
from .foreign import TAKEN_BY, foreign_model, is_foreign
from .foreign_stage import denoised_by_host
from .guider import native_guider, own_guider
from .model import native_model, own_model
from .noise import own_noise
from .runtime import io
from .sampler import native_sampler, own_sampler
from .upscaler import native_upscaler, own_upscaler
from .vae import native_vae, own_vae

OWN: dict[str, Callable[[Any, str], Any]] = {
    "MODEL": own_model,
    "GUIDER": own_guider,
    "SAMPLER": own_sampler,
    "NOISE": own_noise,
    "VAE": own_vae,
    "CLIP": own_clip,
    "LATENT_UPSCALE_MODEL": own_upscaler,
}
"""Object on a wire, name of the input → what our node expects; ValueError, by name, for one that cannot be used."""

NATIVE: dict[str, Callable[[Any, Mapping[str, Any]], Any]] = {
    "MODEL": lambda handle, given: native_model(handle, next((wire for wire in given.get("MODEL", ())), None)),
    "GUIDER": lambda guider, given: native_guider(guider),
    "VAE": lambda part, given: native_vae(part),
    "CLIP": lambda part, given: native_clip(part),
    "LATENT_UPSCALE_MODEL": lambda part, given: native_upscaler(part),
    "SAMPLER": lambda rule, given: native_sampler(rule),
}
"""What our node gives, and the objects that it was given by their types → object on a wire."""


def _own(kind: str, value: Any, name: str, node_id: str) -> Any:
    if kind == "MODEL" and node_id in TAKEN_BY and is_foreign(value):
        return foreign_model(value, denoised_by_host)
    if kind == "CLIP" and node_id in ENCODING and is_foreign_clip(value):
        return foreign_clip(value)
    return OWN[kind](value, name)


def translated(node: type[Any]) -> type[Any]:
    """The node as ComfyUI registers it."""

    class Translated(node):  # type: ignore[misc]  # a class made of a variable
        @classmethod
        def execute(cls, **inputs: Any) -> Any:
            schema = node.define_schema()
            types = {given.id: given.io_type for given in schema.inputs}
            wires: dict[str, list[Any]] = {}
            for name, value in inputs.items():
                kind = types.get(name, "")
                if kind in OWN and value is not None:
                    wires.setdefault(kind, []).append(value)
                    inputs[name] = _own(kind, value, name, schema.node_id)
            output = super().execute(**inputs)
            if not isinstance(output, io.NodeOutput):
                return output
            kinds = [given.io_type for given in schema.outputs]
            output.args = tuple(
                value if value is None or kind not in NATIVE else NATIVE[kind](value, wires)
                for value, kind in zip(output.args, kinds, strict=False)  # an output node gives fewer
            )
            return output

    Translated.__name__, Translated.__qualname__, Translated.__module__ = (
        node.__name__,
        node.__qualname__,
        node.__module__,
    )
    return Translated
