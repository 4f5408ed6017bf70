"""ComfyUI's own LTX-2 model, or one that another pack has loaded for it, in our nodes.

Its network is run by ComfyUI's sampling alone (foreign_stage.py); what our passes skip is asked of it by the words that
it knows itself.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import comfy.model_base
import torch
from torch import Tensor

from ....model_loaders.checkpoint import Checkpoint
from ....model_loaders.parts import DiffusionModel, Lazy
from ....model_loaders.safetensors_header import TensorEntry
from ....model_loaders.transformer import transformer_config
from ....networks.text.connector import Connectors
from ....networks.transformer import Transformer
from ....samplers.guidance import Pass
from ....samplers.state import StreamState
from ....samplers.streams import Streams
from ...guide import Guider
from ...manifest import fingerprint
from ...stage import Run
from .network import BLOCKS, HEARING
from .runtime import warn_user

TAKEN_BY = (
    "OpenLTXGuider",
    "OpenLTXPresetGuider",
    "OpenLTXEmptyAVLatent",
    "OpenLTXSchedule",
    "OpenLTXSample",
)
SAMPLED = 4  # weights that go into a digest
Stage = Callable[[Any, Guider, Streams[StreamState], Tensor, Run], Streams[Tensor]]
"""MODEL, guider, states, sigmas and loop of a stage → its denoised tokens."""


class ForeignNetwork(Lazy[Transformer]):
    """Stands where our network would: `patcher` is the MODEL. A stage is run on it by `stage` (foreign_stage.py)."""

    def __init__(self, patcher: Any, name: str, stage: Stage) -> None:
        super().__init__(self._refused, patcher.model.get_dtype())
        self.patcher, self._name, self._stage = patcher, name, stage

    def denoised(self, guider: Guider, states: Streams[StreamState], sigmas: Tensor, run: Run) -> Streams[Tensor]:
        """A stage of ours, in ComfyUI's sampling."""
        return self._stage(self.patcher, guider, states, sigmas, run)

    def told(self) -> Mapping[str, Any]:
        """For the run manifest."""
        return identity(self.patcher)

    def on(self, device: torch.device, *, memory: int = 0) -> Transformer:
        """Raises ValueError: only ComfyUI's samplers run it."""
        return self._refused()

    def _refused(self) -> Transformer:
        raise ValueError(refusal(self._name))


def refusal(found: str) -> str:
    """For a node that runs the network itself."""
    return (
        f"expected a model from Load LTX Model, found ComfyUI's {found}; load its file with our node (samplers and "
        "guiders of OpenLTX take this one too)"
    )


def identity(patcher: Any) -> dict[str, Any]:
    """What is known of a MODEL that we have not loaded: its file where ComfyUI tells it, else a digest of its weights.

    The digest is over some of the weights that nobody has patched, as they are stored.
    """
    name, found = type(patcher.model).__name__, _file(patcher)
    told: dict[str, Any] = {"loaded": f"by ComfyUI or another pack ({name}), not by us", "attention": "ComfyUI's"}
    told["patched_weights"] = len(patcher.patches)
    if found is not None:
        return {**told, "model": found.name, "file": fingerprint(found)}
    whole = dict(patcher.model.named_parameters())
    plain = sorted(set(whole) - set(patcher.patches))
    some = [plain[len(plain) * part // SAMPLED] for part in range(SAMPLED)] if plain else []
    return {**told, "model": f"ComfyUI's {name}", "weights_digest": _digest([(each, whole[each]) for each in some])}


def _file(patcher: Any) -> Path | None:
    """Of ComfyUI's loaders, which note how to load once more."""
    init = getattr(patcher, "cached_patcher_init", None)
    first = init[1][0] if init and init[1] else None
    return Path(first) if isinstance(first, str) and Path(first).is_file() else None


def _digest(weights: Sequence[tuple[str, Tensor]]) -> str:
    sha256 = hashlib.sha256()
    for name, weight in weights:
        plain = weight.detach().as_subclass(Tensor).cpu().contiguous()
        sha256.update(name.encode() + str(plain.dtype).encode())
        sha256.update(plain.flatten().view(torch.uint8).numpy().tobytes())
    return sha256.hexdigest()


def is_foreign(model: Any) -> bool:
    """Whether it is ComfyUI's LTX-2 model, however it was loaded (hosts before 0.8 have none)."""
    kind = getattr(comfy.model_base, "LTXAV", None)
    return kind is not None and isinstance(getattr(model, "model", None), kind)


def foreign_model(patcher: Any, stage: Stage) -> DiffusionModel:
    """A handle for nodes in TAKEN_BY. Nobody has said of which generation it is: it fits every one.

    Raises ValueError for a network whose parts are not those of a published one.
    """
    network, name = patcher.model.diffusion_model, type(patcher.model).__name__
    warn_user(
        f"model: ComfyUI's {name} does not say of which generation it is; that text and latents fit it is unchecked"
    )
    entries = {
        f"model.diffusion_model.{key}": TensorEntry(dtype="F32", shape=tuple(value.shape), start=0, end=0)
        for key, value in network.named_parameters()
    }
    path = Path(f"ComfyUI's {name}")
    file = Checkpoint(path=path, metadata={}, entries=entries)
    taken = ForeignNetwork(patcher, name, stage)
    config, connectors = transformer_config(file), Lazy[Connectors](_no_connectors, torch.float32)
    return DiffusionModel(
        generation=None, path=path, file=file, transformer=taken, connectors=connectors, config=config
    )


def asked_of_foreign(a_pass: Pass, network: Any) -> Mapping[str, Any]:
    """Entries of transformer_options that make ComfyUI's network skip what this pass skips.

    Raises ValueError for what it cannot skip.
    """
    if not all(a_pass.enabled.present()):
        raise ValueError(
            "guidance: expected skip 0 on ComfyUI's own model, found one stream that skips steps; give both the same"
        )
    asked: dict[str, Any] = dict.fromkeys(HEARING, False) if a_pass.isolated else {}
    skipped = set(a_pass.skip_self_attention.present())
    if skipped:
        blocks = skipped.pop()
        if skipped or a_pass.skip_self_attention.video is None or a_pass.skip_self_attention.audio is None:
            raise ValueError(
                "guidance: expected the same stg_blocks for picture and sound on ComfyUI's own model, found others; "
                "give both streams the same, or load the file with Load LTX Model"
            )
        if BLOCKS not in inspect.getsource(sys.modules[type(network).__module__]):
            raise ValueError(
                "guidance: expected stg 0 on ComfyUI's own model, which skips no blocks in this version; set it to 0, "
                "or load the file with Load LTX Model"
            )
        asked[BLOCKS] = frozenset(range(len(network.transformer_blocks))) if blocks == "all" else blocks
    return asked


def _no_connectors() -> Connectors:
    raise ValueError("ComfyUI's own model connects text by itself; sample it with SamplerCustomAdvanced")
