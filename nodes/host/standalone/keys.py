"""Cache keys: what a result depends on (packaging.md 3.3 Cache key). Titles, ids and positions do not count."""

from __future__ import annotations

import hashlib
import math
import uuid
from collections.abc import Mapping
from typing import Any

from . import io
from .inputs import Link
from .schema import schema_of


def node_key(
    node: type[io.ComfyNode], node_id: str, values: Mapping[str, Any], sources: Mapping[str, str], fingerprint: Any
) -> str:
    """The key of one node's results.

    `values` by entry name are converted literals or `Link`s; `sources` gives the keys of the linked nodes by id. A
    fingerprint that holds NaN never gives the same key twice.
    """
    schema = schema_of(node)
    parts: list[Any] = [schema.node_id, _with_keys(values, sources), fingerprint]
    if schema.not_idempotent or io.Hidden.unique_id in schema.hidden:
        parts.append(node_id)
    if _holds_nan(fingerprint):
        parts.append(uuid.uuid4().hex)
    return hashlib.sha256(_canonical(parts).encode()).hexdigest()


def _with_keys(values: Mapping[str, Any], sources: Mapping[str, str]) -> dict[str, Any]:
    return {
        name: ("link", sources[value.node_id], value.index) if isinstance(value, Link) else ("value", value)
        for name, value in values.items()
    }


def _canonical(value: Any) -> str:
    """A text that is equal for equal values only: types count, the order of dict keys does not."""
    if isinstance(value, Mapping):
        return "{" + ",".join(sorted(f"{_canonical(key)}:{_canonical(item)}" for key, item in value.items())) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(_canonical, value)) + "]"
    return f"{type(value).__name__}({value!r})"


def _holds_nan(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_holds_nan, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(_holds_nan, value))
    return isinstance(value, float) and math.isnan(value)
