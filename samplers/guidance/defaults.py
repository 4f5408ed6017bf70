"""Official guidance and steps of full ("dev") models (spec sampling.md 7.7). Distilled models and refinements: none."""

from __future__ import annotations

from ..streams import Streams
from .multimodal import Guidance

STEPS = {"2": 40, "2.3": 30, "2.5": 30}
STG_BLOCKS = {"2": frozenset({29}), "2.3": frozenset({28}), "2.5": frozenset({28})}
HQ_STEPS = 15  # of res_2s
HQ_GUIDANCE = Streams(
    video=Guidance(cfg=3.0, rescale=0.45, modality=3.0), audio=Guidance(cfg=7.0, rescale=1.0, modality=3.0)
)


def default_guidance(generation: str) -> Streams[Guidance]:
    """Guidance of both streams for generation "2", "2.3" or "2.5"; ValueError for others.

    A stream that is denoised alone needs no change: isolation from an absent stream runs no pass.
    """
    if generation not in STG_BLOCKS:
        raise ValueError(f"generation: expected one of {', '.join(STG_BLOCKS)}, found {generation!r}")
    blocks = STG_BLOCKS[generation]

    def guidance(cfg: float) -> Guidance:
        return Guidance(cfg=cfg, stg=1.0, stg_blocks=blocks, rescale=0.7, modality=3.0)

    return Streams(video=guidance(3.0), audio=guidance(7.0))
