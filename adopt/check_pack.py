"""A pack for the ComfyUI of a check: core's guide node for latents of other channels than the published 128."""

from __future__ import annotations

from .rewrite import Prompt

GUIDE, OF_ANY_CHANNELS = "LTXVAddGuide", "OpenLTXCheckAddGuide"
PACK = f'''
from nodes import NODE_CLASS_MAPPINGS as KNOWN

core = KNOWN["{GUIDE}"]

class Guide(core):
    @classmethod
    def define_schema(cls):
        schema = core.define_schema()
        schema.node_id = "{OF_ANY_CHANNELS}"
        return schema

    @classmethod
    def append_keyframe(cls, positive, negative, frame, latent, *given, **named):
        named["in_channels"] = latent.shape[1]
        return super().append_keyframe(positive, negative, frame, latent, *given, **named)

NODE_CLASS_MAPPINGS = {{"{OF_ANY_CHANNELS}": Guide}}
'''


def for_small_latents(prompt: Prompt) -> Prompt:
    """The workflow with that node in place of core's."""
    kinds = {GUIDE: OF_ANY_CHANNELS}
    return {
        name: {**entry, "class_type": kinds.get(entry["class_type"], entry["class_type"])}
        for name, entry in prompt.items()
    }
