"""What a whole device leaves for passes side by side and for kept texts, where its host places the weights.

It follows from the device's size and not from what is free, which changes from run to run: the same settings on the
same machine must give the same bits.
"""

from __future__ import annotations

MAX_PASSES = 4
TEXT_SHARE = 0.1  # of what the weights leave: for kept keys and values of the text
RESERVED = 0.25  # of the device's memory: for the other parts of a workflow, other programs, fragmentation


def beside_weights(memory: int, weights: int) -> int:
    """Bytes that a device of `memory` bytes leaves beside `weights`."""
    return int(memory * (1 - RESERVED)) - weights


def passes_within(memory: int, one_pass: int) -> int:
    """Passes whose activations fit into `memory` (bytes), 1 to 4."""
    return min(max(memory // max(one_pass, 1), 1), MAX_PASSES)


def keeps_text(memory: int, kept: int) -> bool:
    """Whether the text's keys and values of every block, `kept` bytes, are kept where the weights leave `memory`."""
    return TEXT_SHARE * memory >= kept
