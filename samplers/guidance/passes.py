"""What one pass of the network is asked to do; the guidance of a step is a list of passes (spec sampling.md 7.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..streams import Streams

Blocks = frozenset[int] | Literal["all"]  # block indices of a transformer
PassName = Literal["conditioned", "unconditioned", "perturbed", "isolated"]


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One pass over all samples of a batch.

    positive             whether the stream reads its positive text (else the negative one)
    skip_self_attention  blocks in which the stream's self-attention is skipped; absent: in none
    isolated             no stream hears of the other one: cross-modal attention is skipped in every block
    enabled              False: the stream's tokens are not updated, only read by the other stream; of all passes of a
                         call alike, because it is not a property of a sample
    """

    name: PassName
    positive: Streams[bool]
    enabled: Streams[bool]
    skip_self_attention: Streams[Blocks] = Streams()
    isolated: bool = False
