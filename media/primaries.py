"""RGB primaries in linear light, rotated by the tables of spec media_io.md 4.2: out = M rgb."""

from __future__ import annotations

from functools import cache
from typing import Literal

import torch
from torch import Tensor

Primaries = Literal["rec709", "acescg", "rec2020"]

# Rounded to five digits as published, not the exact ACES matrix; its inverse below is exact.
ACESCG_TO_REC709 = ((1.70505, -0.62179, -0.08326), (-0.13026, 1.14080, -0.01055), (-0.02400, -0.12897, 1.15297))
REC709_TO_REC2020 = (
    (0.62740389, 0.32928304, 0.04331307),
    (0.06909729, 0.91954040, 0.01136232),
    (0.01639144, 0.08801331, 0.89559525),
)
ACESCG_TO_REC2020 = (
    (1.02582475, -0.02005319, -0.00577156),
    (-0.00223437, 1.00458650, -0.00235213),
    (-0.00501335, -0.02529007, 1.03030342),
)


def rotate(linear: Tensor, source: Primaries, target: Primaries) -> Tensor:
    """Linear-light RGB (..., 3) in the primaries `target`: float32, unclamped.

    Raises ValueError for a pair without a table.
    """
    return linear.float() if source == target else linear.float() @ _matrix(source, target).to(linear.device).T


@cache
def _matrix(source: Primaries, target: Primaries) -> Tensor:
    match source, target:
        case "acescg", "rec709":
            return torch.tensor(ACESCG_TO_REC709)
        case "rec709", "acescg":
            exact: Tensor = torch.linalg.inv(torch.tensor(ACESCG_TO_REC709, dtype=torch.float64))
            return exact.float()
        case "rec709", "rec2020":
            return torch.tensor(REC709_TO_REC2020)
        case "acescg", "rec2020":
            return torch.tensor(ACESCG_TO_REC2020)
    raise ValueError(f"primaries: expected rec709 or acescg to one another or to rec2020, found {source} to {target}")
