"""Our LoRA arithmetic as patches of a ModelPatcher, so that it pages, merges and is undone like everybody's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import comfy.weight_adapter
from torch import Tensor

from ....model_loaders.lora.adapters import adapted_bias, adapted_weight, changes_bias, changes_weight, check_adapter
from ....model_loaders.lora.network import LoraUse, adapters_by_layer

PREFIX = "diffusion_model."


class LoraPatch(comfy.weight_adapter.WeightAdapterBase):  # type: ignore[misc]  # ComfyUI is absent when types are checked
    """One layer's adapter. ComfyUI copies it as type(it)(loaded_keys, weights), with the tensors moved.

    loaded_keys: the layer's name; weights: (name of the part, tensor) pairs.
    """

    name = "openltx"

    def __init__(self, loaded_keys: str, weights: tuple[tuple[str, Tensor], ...]) -> None:
        self.loaded_keys, self.weights = loaded_keys, weights

    def calculate_weight(self, weight: Tensor, key: str, strength: float, *others: Any, **more: Any) -> Tensor:
        """The patched weight, computed in float32."""
        parts = {name: tensor.to(weight.device) for name, tensor in self.weights}
        adapted = adapted_bias if key.endswith(".bias") else adapted_weight
        return adapted(weight, parts, strength, layer=self.loaded_keys).to(weight.dtype)


def add_loras(patcher: Any, uses: Sequence[LoraUse]) -> None:
    """Adds LoRAs to a clone of a MODEL with plain weights, in their order."""
    known = {name: tensor.shape for name, tensor in patcher.model_state_dict().items()}
    for layer, adapters in adapters_by_layer(uses).items():
        weight = f"{PREFIX}{layer}.weight"
        for adapter in adapters:
            key = weight if weight in known else PREFIX + layer  # a parameter of its own, such as a table
            check_adapter(adapter.parts, known.get(key), known.get(f"{PREFIX}{layer}.bias"), layer=layer)
            patch = LoraPatch(layer, tuple(adapter.parts.items()))
            if changes_weight(adapter.parts):
                _add(patcher, key, patch, adapter.strength)
            if changes_bias(adapter.parts):
                _add(patcher, f"{PREFIX}{layer}.bias", patch, adapter.strength)


def _add(patcher: Any, key: str, patch: LoraPatch, strength: float) -> None:
    if not patcher.add_patches({key: patch}, strength):
        raise ValueError(f"{patch.loaded_keys}: expected a layer of this model, found none; the LoRA is for another")
