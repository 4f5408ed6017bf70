"""CLIP in ComfyUI: our text encoder for its text nodes (comfyui_host.md 3.6)."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any

import comfy.hooks
import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.sd
import torch
from torch import Tensor, nn

from ....model_loaders.parts import Lazy, TextPart
from ....model_loaders.text_conditioning import ConditioningCache
from ....model_loaders.text_encoder import TextEncoder
from ...contexts import EMPTY, Conditioning
from ...generations import GENERATION
from .runtime import warn_user

Tokens = dict[str, list[list[tuple[Any, ...]]]]
KEY = "gemma"
ENCODING = ("OpenLTXEncodePrompt", "OpenLTXEncodePrompts")  # nodes that take ComfyUI's own text encoder
STATES = 64  # hidden states' worth of memory that a token needs at once, feed-forward included


class TextStage(nn.Module):
    """Decoder, projection and connectors, as ComfyUI's CLIP runs them."""

    def __init__(self, part: TextPart) -> None:
        """The projection keeps torch's layers: a host's would hold all hidden states at once, and round otherwise."""
        super().__init__()
        dtype = part.encoder.dtype
        self.encoder = part.load(operations=comfy.ops.pick_operations(dtype, None)).to(dtype=dtype)
        self.part, self.dtype, self.dtypes = part, dtype, {dtype}
        self.decoder, self.projection = self.encoder.decoder, self.encoder.projection
        self.video_connector, self.audio_connector = self.encoder.video_connector, self.encoder.audio_connector

    def set_clip_options(self, options: dict[str, Any]) -> None:
        """Read is where to compute; layers are not chosen here, because the projection reads all of them."""
        self.encoder.device = options.get("execution_device", self.encoder.device)

    def reset_clip_options(self) -> None:
        """Nothing is kept from prompt to prompt."""

    def encode_token_weights(self, tokens: Tokens) -> tuple[Tensor, None, dict[str, Any]]:
        """Ids → contexts (1, S, Dv + Da), no pooled output, and the generation for the check at the sampler."""
        found = self.encoder.encode_ids([token[0] for token in tokens[KEY][0]])
        contexts = torch.cat([found.video_context, found.audio_context], dim=-1)
        return contexts, None, {GENERATION: self.part.generation}

    def memory_estimation_function(self, tokens: Tokens, device: Any = None) -> int:
        """Bytes beside the weights, for the longest prompt: the connectors fill every one up."""
        return STATES * self.encoder.length * self.decoder.config.hidden_size * self.dtype.itemsize

    def generate(self, *arguments: Any, **options: Any) -> Any:
        raise ValueError("clip: this text encoder encodes prompts only, it writes none; use Enhance Prompt (LTX)")


class Tokenizer:
    """Text → ids. Weights in brackets are no syntax of these models: brackets are read as they stand."""

    def __init__(self, encoder: TextEncoder) -> None:
        self._encoder = encoder

    def tokenize_with_weights(self, text: str, return_word_ids: bool = False, **options: Any) -> Tokens:
        """{"gemma": [[(id, 1.0), …]]}, with the number of the token as its word where asked."""
        ids = self._encoder.tokenize(text)
        return {KEY: [[(token, 1.0, place) if return_word_ids else (token, 1.0) for place, token in enumerate(ids)]]}

    def state_dict(self) -> dict[str, Any]:
        """Nothing to save with the weights."""
        return {}


class NativeCLIP(comfy.sd.CLIP):  # type: ignore[misc]  # ComfyUI is absent when types are checked
    """The weights are read from the file when something is first asked of it. A clone is ComfyUI's own class."""

    def __init__(self, part: TextPart) -> None:
        super().__init__(no_init=True)
        self.part = part
        self.layer_idx = self.apply_hooks_to_conds = None
        self.use_clip_schedule = False
        self.tokenizer_options: dict[str, Any] = {}

    @cached_property
    def cond_stage_model(self) -> Any:
        return self.patcher.model

    @cached_property
    def tokenizer(self) -> Tokenizer:
        return Tokenizer(self.patcher.model.encoder)

    @cached_property
    def patcher(self) -> Any:
        return _patcher(self.part)


def _patcher(part: TextPart, *, disable_dynamic: bool = False) -> Any:
    manager, stage = comfy.model_management, TextStage(part)
    manager.archive_model_dtypes(stage)
    patcher_class = comfy.model_patcher.ModelPatcher if disable_dynamic else comfy.model_patcher.CoreModelPatcher
    patcher = patcher_class(
        stage, load_device=manager.text_encoder_device(), offload_device=manager.text_encoder_offload_device()
    )
    patcher.hook_mode, patcher.is_clip = comfy.hooks.EnumHookMode.MinVram, True
    patcher.cached_patcher_init = (_patcher, (part,))
    return patcher


class InCLIP(Lazy[TextEncoder]):
    """The text encoder of a CLIP object, for our own nodes."""

    paged = True

    def __init__(self, lazy: Lazy[TextEncoder], clip: Any) -> None:
        super().__init__(lazy.source, lazy.dtype)
        self._clip = clip

    def idle(self) -> TextEncoder | None:
        """Where weights are patched, what is remembered under the files' name is of others."""
        patcher = self._clip.patcher
        return None if patcher.patches else patcher.model.encoder

    def on(self, device: torch.device, *, memory: int = 0) -> TextEncoder:
        self._clip.load_model({})
        stage: TextStage = self._clip.patcher.model
        stage.set_clip_options({"execution_device": self._clip.patcher.load_device})
        if self._clip.patcher.patches:  # contexts of other weights must not be remembered under the files' name
            return replace(stage.encoder, cache=ConditioningCache(0))
        return stage.encoder


class ForeignCLIP:
    """ComfyUI's own text encoder, or one that another pack has loaded for it."""

    def __init__(self, clip: Any) -> None:
        self._clip = clip

    def conditioning(self, text: str) -> Conditioning:
        """As CLIPTextEncode gives it, of no generation."""
        found: Conditioning = self._clip.encode_from_tokens_scheduled(self._clip.tokenize(text))
        return found if text.strip() else [[context, {**options, EMPTY: True}] for context, options in found]


def is_foreign_clip(clip: Any) -> bool:
    """Whether it is a CLIP whose encoder is not ours."""
    return isinstance(clip, comfy.sd.CLIP) and not isinstance(clip, NativeCLIP) and not _is_own(clip)


def _is_own(clip: Any) -> bool:
    return isinstance(getattr(clip, "cond_stage_model", None), TextStage)


def foreign_clip(clip: Any) -> ForeignCLIP:
    """For nodes in ENCODING. Nobody has said of which generation it is: its text fits every one."""
    warn_user(
        f"text_encoder: ComfyUI's {type(clip.cond_stage_model).__name__} does not say of which generation it is; that "
        "the model fits it is unchecked"
    )
    return ForeignCLIP(clip)


def native_clip(part: TextPart) -> NativeCLIP:
    """A part → CLIP."""
    return NativeCLIP(part)


def own_clip(clip: Any, name: str) -> TextPart:
    """A CLIP → our part; ValueError for one that is not ours."""
    if isinstance(clip, NativeCLIP):
        part = clip.part
    elif _is_own(clip):
        part = clip.cond_stage_model.part
    else:
        found = type(getattr(clip, "cond_stage_model", clip)).__name__
        raise ValueError(
            f"{name}: expected a text encoder from Load LTX Model, found ComfyUI's {found}; encode with Encode Prompt "
            "(LTX) or CLIPTextEncode, whose conditioning our nodes take"
        )
    return replace(part, encoder=InCLIP(part.encoder, clip))
