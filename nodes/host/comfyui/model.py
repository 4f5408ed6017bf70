"""MODEL in ComfyUI: a ModelPatcher over a BaseModel with our transformer (comfyui_host.md 3.1 to 3.3)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import comfy.conds
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.supported_models_base
import torch
from torch import Tensor

from ....model_loaders.checkpoint import open_checkpoint
from ....model_loaders.lora.network import apply_loras
from ....model_loaders.operations import StoredLinear, tell_ways
from ....model_loaders.parts import AUDIO_BINS, DiffusionModel, Lazy, refuse_mixed
from ....model_loaders.placement import Placement
from ....model_loaders.text_encoder import load_connectors
from ....model_loaders.transformer import is_quantised, load_transformer
from ....networks.operations import torch_operations
from ....networks.transformer import Transformer
from ....networks.transformer.watch import Watch
from ....samplers.shapes import pixel_frames
from ...contexts import UNPROCESSED, split_contexts
from ...generations import GENERATION
from ...predictor import activation_bytes
from .conditions import VOICE, conditions_of
from .foreign import refusal
from .latents import LatentFormat
from .lora import PREFIX, LoraPatch, add_loras
from .network import COMPILE, CONDITIONS, WATCH, HostTransformer
from .runtime import warn_user

LORAS = "openltx_loras"  # attachment of a ModelPatcher: what our own nodes have added
PLACEMENT = "openltx_placement"  # attachment: what Memory Plan (LTX) has chosen
COMPILE_OPTIONS = "torch_compile_kwargs"  # in model_options: what TorchCompileModel asks for
FORWARD = ("attn1.forward", "attn2.forward")  # of layers whose queries, keys and values our blocks ask for apart
SHIFT = 2.37  # of named schedulers (spec sampling.md 9.4)


class Config(comfy.supported_models_base.BASE):  # type: ignore[misc]  # ComfyUI is absent when types are checked
    """What a BaseModel reads of its configuration."""

    unet_config: dict[str, Any] = {}  # noqa: RUF012  # ComfyUI copies it
    unet_extra_config: dict[str, Any] = {}  # noqa: RUF012
    sampling_settings = {"shift": SHIFT}  # noqa: RUF012
    supported_inference_dtypes = [torch.bfloat16, torch.float32]  # noqa: RUF012
    memory_usage_factor = 1.0  # not read: `memory_required` is ours


class OpenLTXModel(comfy.model_base.BaseModel):  # type: ignore[misc]
    """The network, and what ComfyUI's samplers ask about it."""

    def __init__(self, handle: DiffusionModel, network: HostTransformer, device: torch.device) -> None:
        config = Config({"disable_unet_model_creation": True, "dtype": network.dtype})
        config.latent_format = LatentFormat(handle.video_channels or handle.audio_channels, str(handle.path))
        super().__init__(config, comfy.model_base.ModelType.FLUX, device=device)
        self.diffusion_model = network
        comfy.model_management.archive_model_dtypes(network)
        self.handle = handle
        self._connectors: Any = None

    def extra_conds(self, **entries: Any) -> dict[str, Any]:
        """Once a run and prompt: the text, and everything else in one value, which ComfyUI hands through."""
        if self.current_patcher is not None:
            _refuse_patched_codes(self.current_patcher)
            self.diffusion_model.tell_of(_idle_layers(self.current_patcher))
        highest = float(self.model_sampling.timestep(torch.tensor(1.0)))
        if highest != 1.0:
            raise ValueError(
                f"model: expected timesteps up to 1, found {highest:g}; use ModelSamplingLTXV in place of this model "
                "sampling node"
            )
        shapes = entries.get("latent_shapes") or [entries["noise"].shape]
        self.latent_format.shapes = shapes
        self._refuse_other_generation(entries)
        context = entries.get("cross_attn")
        if context is None:
            raise ValueError("conditioning: expected a text context, found none; connect an encoded prompt")
        if entries.get(UNPROCESSED):
            context = self._connected(context)
        split_contexts(context, self.handle.config, "conditioning")
        given = {"latent_shapes": shapes, CONDITIONS: conditions_of(entries, shapes)}
        if entries.get(VOICE) is not None:  # its absence tells the network that a pass goes without
            given[VOICE] = True
        asked = getattr(self.current_patcher, "model_options", {}).get(COMPILE_OPTIONS)
        if asked is not None:
            given[COMPILE] = asked
        constants = {name: comfy.conds.CONDConstant(value) for name, value in given.items()}
        return {"c_crossattn": comfy.conds.CONDRegular(context), **constants}  # not CONDCrossAttn: it repeats tokens

    def _connected(self, features: Tensor) -> Tensor:
        """Text features of ComfyUI's encoder → contexts, beside the network that is about to sample."""
        manager, dtype = comfy.model_management, self.handle.transformer.dtype
        if self._connectors is None:
            operations = comfy.ops.pick_operations(dtype, None)
            network = load_connectors(open_checkpoint(self.handle.path), operations=operations)
            self._connectors = comfy.model_patcher.CoreModelPatcher(
                network.to(dtype),
                load_device=manager.get_torch_device(),
                offload_device=manager.unet_offload_device(),
            )
        loaded = [self._connectors] + ([] if self.current_patcher is None else [self.current_patcher])
        manager.load_models_gpu(loaded)
        contexts: Tensor = self._connectors.model(features.to(self._connectors.load_device, dtype))
        return contexts

    def _refuse_other_generation(self, entries: Mapping[str, Any]) -> None:
        refuse_mixed(self.handle, entries.get(GENERATION, self.handle.generation), "conditioning")

    def map_context_window_to_modalities(
        self, primary_indices: Sequence[int], latent_shapes: Sequence[Sequence[int]], dim: int
    ) -> list[list[int]]:
        """Latent frames of a window of the picture → those of each member, the sound's of the same time."""
        frames, found = latent_shapes[0][dim], [list(primary_indices)]
        for shape in latent_shapes[1:]:
            first, last = min(primary_indices), max(primary_indices)
            share = shape[dim] / pixel_frames(frames)
            start = round(share * (pixel_frames(first) if first else 0))
            found.append(list(range(start, max(start + 1, round(share * pixel_frames(last + 1))))))
        return found

    def resize_cond_for_context_window(
        self, cond_key: str, cond_value: Any, window: Any, x_in: Any, device: Any, **others: Any
    ) -> Any:
        """Our conditions of a window; None: ComfyUI's own way, for everything else.

        Raises ValueError where an older ComfyUI would cut the packed numbers of picture and sound as if they were one.
        """
        if cond_key != CONDITIONS:
            return None
        windows = getattr(window, "modality_windows", None)
        if len(cond_value.cond.shapes) > 1 and not windows:
            raise ValueError(
                "context windows: expected a ComfyUI that cuts sound beside the picture, found an older one; use "
                "Sample Long Clip (LTX), or a latent of the picture alone"
            )
        anchor = getattr(window, "causal_anchor_index", None)
        frames = [*([anchor] if anchor is not None and anchor >= 0 else []), *window.index_list]
        sound = windows[1].index_list if windows else None
        return comfy.conds.CONDConstant(cond_value.cond.window(frames, sound))

    def scale_latent_inpaint(self, *, latent_image: Tensor, **others: Any) -> Tensor:
        """Kept parts are shown clean, at timestep 0, not with noise."""
        return latent_image

    def memory_required(self, input_shape: Sequence[int], cond_shapes: Mapping[str, Any] | None = None) -> float:
        """Bytes of a pass over (B, 1, all numbers of a packed sample), (B, C, F, H, W) or (B, C, T, bins)."""
        config, shape = self.handle.config, list(input_shape)
        if len(shape) == 3:
            tokens = shape[0] * shape[2] / min(stream.in_channels for _, stream in config.streams())
        else:
            tokens = shape[0] * math.prod(shape[2:]) / (AUDIO_BINS if len(shape) == 4 else 1)
        return activation_bytes(config, self.get_dtype_inference(), math.ceil(tokens))


class PatchedNetwork(Lazy[Transformer]):
    """The transformer of a MODEL, with whatever LoRA and paging it has there."""

    paged = True

    def __init__(self, patcher: Any, lazy: Lazy[Transformer]) -> None:
        super().__init__(lazy.source, lazy.dtype)
        self.patcher = patcher

    def on(self, device: torch.device, *, memory: int = 0) -> Transformer:
        _refuse_patched_codes(self.patcher)
        _tell_of_idle_patches(self.patcher)
        comfy.model_management.load_models_gpu([self.patcher], memory_required=memory)
        network: Transformer = self.patcher.model.diffusion_model
        return network

    @property
    def patches(self) -> str:  # type: ignore[override]  # the base has none
        """ComfyUI's own name of the state, where others than our nodes have a part in it."""
        entries = (entry for found in self.patcher.patches.values() for entry in found)
        return str(self.patcher.patches_uuid) if any(not isinstance(e[1], LoraPatch) for e in entries) else ""

    def with_host(self, model: DiffusionModel) -> DiffusionModel:
        return own_model(native_model(model, self.patcher), "model")


def native_model(handle: DiffusionModel, parent: Any = None) -> Any:
    """A handle → MODEL. parent: the MODEL that the node was given; a LoRA becomes patches of a clone of it.

    Raises CheckpointError for a file that does not hold what its header says, ValueError where patches would be lost.
    """
    if isinstance(handle.transformer, PatchedNetwork):
        return _with_watch(_with_placement(handle.transformer.patcher, handle.placement), handle.watch)
    if parent is None or not isinstance(parent.model, OpenLTXModel):
        return _loaded(handle)
    known = parent.get_attachment(LORAS) or ()
    if parent.model.handle.config != handle.config or is_quantised(handle.file):
        _refuse_lost(parent, handle)
        return _loaded(handle)
    patcher = parent.clone()
    add_loras(patcher, handle.loras[len(known) :])
    patcher.set_attachments(LORAS, handle.loras)
    return patcher


def _with_placement(patcher: Any, placement: Placement | None) -> Any:
    """How our stages call the network; where the weights lie is ComfyUI's business."""
    if placement == patcher.get_attachment(PLACEMENT):
        return patcher
    changed = patcher.clone()
    changed.set_attachments(PLACEMENT, placement)
    return changed


def _with_watch(patcher: Any, watch: Watch | None) -> Any:
    """It travels with the options of every call of the network."""
    inner = patcher.model_options.get("transformer_options", {})
    if watch is inner.get(WATCH):
        return patcher
    changed = patcher.clone()
    changed.model_options["transformer_options"] = {**inner, WATCH: watch}
    return changed


def own_model(model: Any, name: str) -> DiffusionModel:
    """A MODEL → its handle, whose network is the patched one. ValueError for a model that is not ours."""
    if isinstance(model, DiffusionModel):
        return model
    inner = getattr(model, "model", None)
    if not isinstance(inner, OpenLTXModel):
        found = type(inner if inner is not None else model).__name__
        raise ValueError(f"{name}: {refusal(found)}")
    network = PatchedNetwork(model, inner.handle.transformer)
    loras = model.get_attachment(LORAS) or inner.handle.loras
    watch = model.model_options.get("transformer_options", {}).get(WATCH)
    placement = model.get_attachment(PLACEMENT)
    return replace(inner.handle, transformer=network, loras=loras, placement=placement, watch=watch)


def _loaded(handle: DiffusionModel, *, disable_dynamic: bool = False) -> Any:
    """Reads the weights, memory-mapped. The class of patcher is looked up now: ComfyUI replaces it when it starts."""
    manager, dtype = comfy.model_management, handle.transformer.dtype
    operations = torch_operations if is_quantised(handle.file) else comfy.ops.pick_operations(dtype, None)
    network = load_transformer(handle.file, operations=operations, network=HostTransformer)
    assert isinstance(network, HostTransformer)
    apply_loras(network, handle.loras)
    offload = manager.unet_offload_device()
    model = OpenLTXModel(handle, network.to(dtype), offload)
    patcher_class = comfy.model_patcher.ModelPatcher if disable_dynamic else comfy.model_patcher.CoreModelPatcher
    patcher = patcher_class(model, load_device=manager.get_torch_device(), offload_device=offload)
    tell_ways(network, manager.get_torch_device(), dtype)
    patcher.cached_patcher_init = (_loaded, (handle,))
    patcher.set_attachments(LORAS, handle.loras)
    return patcher


def _refuse_lost(parent: Any, handle: DiffusionModel) -> None:
    """A model that is read anew would come without what other nodes have put on the one before."""
    own = len(parent.get_attachment(LORAS) or ())
    if parent.patches and not own:
        raise ValueError(
            f"{handle.path.name}: expected a model without patches of other nodes, found {len(parent.patches)} patched "
            "weights; put this node before LoRA loaders"
        )


def _refuse_patched_codes(patcher: Any) -> None:
    """Patches of others are made for plain numbers: on stored codes they would give another network, without a word."""
    network = patcher.model.diffusion_model
    stored = {name for name, module in network.named_modules() if isinstance(module, StoredLinear) and module.recipe}
    patched = {key.removeprefix(PREFIX).rpartition(".")[0] for key in patcher.patches if key.endswith(".weight")}
    if stored & patched:
        raise ValueError(
            f"model: expected no patches on quantised weights, found {len(stored & patched)} patched layers; use Load "
            "LoRA (LTX), or a file with plain weights"
        )


def _idle_layers(patcher: Any) -> set[str]:
    """Layers whose `forward` somebody has replaced, and which our blocks do not call by it."""
    names = {key.removesuffix(".forward").rpartition(".")[2] for key in patcher.object_patches if key.endswith(FORWARD)}
    return {f"{name}.forward" for name in names}


def _tell_of_idle_patches(patcher: Any) -> None:
    """Patches that act inside ComfyUI's samplers have no effect in ours: say so."""
    options = patcher.model_options
    inner = options.get("transformer_options", {})
    idle = sorted({*options} - {"transformer_options"}) + sorted(
        name for name, value in inner.items() if value and name != WATCH
    )
    idle += sorted(kind for kind, found in patcher.wrappers.items() if found)
    if idle:
        warn_user(
            f"the model carries patches that act in ComfyUI's samplers only ({', '.join(idle)}): connect Guider (LTX) "
            "and Step Rule (LTX) to SamplerCustomAdvanced to use them"
        )
