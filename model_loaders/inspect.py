"""What a model is made of: tensors and parameters of each component."""

from __future__ import annotations

from dataclasses import dataclass

from .assemble import build_on_meta
from .published import Build, published_model


@dataclass(frozen=True, kw_only=True)
class Component:
    """One network: how many tensors and numbers its part of the file has."""

    component: str
    tensors: int
    parameters: int


def structure(name: str) -> list[Component]:
    """The components of a published model, counted on the meta device. Raises ValueError for an unknown name."""
    return [_count(component, build) for component, build in published_model(name).networks.items()]


def _count(component: str, build: Build) -> Component:
    tensors = build_on_meta(build).state_dict().values()
    return Component(component=component, tensors=len(tensors), parameters=sum(t.numel() for t in tensors))
