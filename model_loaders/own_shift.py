"""The shift of the schedule that a model's own file asks for: small models cannot use the published one."""

from __future__ import annotations

from dataclasses import dataclass

from .checkpoint import Checkpoint, CheckpointError


@dataclass(frozen=True, kw_only=True)
class OwnShift:
    """Arguments of the token-shifted schedule (spec page sampling, section 5.1)."""

    max_shift: float
    base_shift: float
    stretch: bool


def own_shift(checkpoint: Checkpoint) -> OwnShift | None:
    """What the section `scheduler` of the file's config says, None where it names no shift.

    Raises CheckpointError for values that are no numbers.
    """
    section = checkpoint.config.get("scheduler")
    if not isinstance(section, dict) or not {"max_shift", "base_shift"} <= section.keys():
        return None
    try:
        return OwnShift(
            max_shift=float(section["max_shift"]),
            base_shift=float(section["base_shift"]),
            stretch=bool(section.get("stretch", True)),
        )
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"{checkpoint.path}: expected numbers for the scheduler's shifts, found {section!r}; the file is damaged"
        ) from error
