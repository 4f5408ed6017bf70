"""Which passes a step needs, in their order (spec sampling.md 7.2)."""

from __future__ import annotations

from ..streams import Streams
from .multimodal import Guidance
from .passes import Blocks, Pass, PassName


def plan_passes(
    guidance: Streams[Guidance],
    *,
    asking: Streams[bool],
    enabled: Streams[bool],
    negative: Streams[bool],
    unconditioned: bool = False,
) -> list[Pass]:
    """Conditioned, unconditioned, perturbed, isolated: those that a stream of `asking` wants; all streams take part.

    negative: which streams have a negative text; one without it keeps its positive text.
    unconditioned: the rule needs that pass at any scale; it still does not run where no stream has a negative text,
    because it would repeat the conditioned one.
    """

    def wanted(name: PassName) -> bool:
        return any(guidance.map(lambda own, asks: asks and own.wants(name), asking).present())

    positive = guidance.map(lambda _: True)
    passes = [Pass(name="conditioned", positive=positive, enabled=enabled)]
    if wanted("unconditioned") or (unconditioned and any(negative.present())):
        positives = guidance.map(lambda _, has_negative: not has_negative, negative)
        passes.append(Pass(name="unconditioned", positive=positives, enabled=enabled))
    if wanted("perturbed"):
        skips: Streams[Blocks] = guidance.map(lambda own: own.stg_blocks if own.wants("perturbed") else None)
        passes.append(Pass(name="perturbed", positive=positive, enabled=enabled, skip_self_attention=skips))
    if wanted("isolated") and len(guidance.present()) == 2:  # a stream that is alone is isolated already
        passes.append(Pass(name="isolated", positive=positive, enabled=enabled, isolated=True))
    return passes
