"""GUIDER in ComfyUI: our guidance in its samplers, over its own calls of the model (comfyui_host.md 3.7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import comfy.samplers
import torch
from torch import Tensor

from ....samplers.denoiser import GuidedRun
from ....samplers.guidance import Pass
from ....samplers.streams import Streams
from ....samplers.tiling import TilePlan
from ...guide import Guider
from .conditions import streams_of
from .foreign import ForeignNetwork, asked_of_foreign
from .model import PatchedNetwork
from .network import PASS, step_of
from .runtime import warn_user
from .sampler import Shape

TEXTS = ("conditioned", "unconditioned")  # passes that differ in their prompt only: they run as one batch
IDLE = ("sampler_cfg_function", "sampler_pre_cfg_function")
Options = dict[str, Any]


class NativeGuider(comfy.samplers.CFGGuider):  # type: ignore[misc]  # ComfyUI is absent when types are checked
    """Each stream guided in its own way: text, skipped blocks, isolation, rescale, skipped steps."""

    def __init__(self, own: Guider, patcher: Any, switches: Mapping[str, Any] | None = None) -> None:
        """switches: entries of transformer_options in every call."""
        super().__init__(patcher)
        self.own, self._switches = own, switches or {}
        self.inner_set_conds({"positive": own.positive} | ({} if own.negative is None else {"negative": own.negative}))
        self._shape, self._frozen = Shape([]), Streams[bool]()
        self._run: GuidedRun | None = None
        self._last: dict[str, Tensor] = {}  # clean latents, packed, by pass

    def sample(self, noise: Any, latent_image: Any, *rest: Any, denoise_mask: Any = None, **more: Any) -> Any:
        """ValueError for tiles, which our own samplers cut."""
        if self.own.tiles != TilePlan():
            raise ValueError("guider: expected one without tiles, found some; use Sample Stage (LTX), which cuts them")
        if self.own.nag.present():
            raise ValueError(
                "guider: expected one without a negative prompt inside the attention (NAG), found one; use Sample "
                "Stage (LTX), which computes it"
            )
        idle = [name for name in IDLE if self.model_options.get(name)]
        if idle:
            warn_user(f"guider: patches of the model without effect beside our guidance: {', '.join(idle)}")
        nested = getattr(latent_image, "is_nested", False)
        shapes = [tuple(member.shape) for member in (latent_image.unbind() if nested else [latent_image])]
        self._shape, self._frozen, self._run, self._last = Shape(shapes), _frozen(denoise_mask, shapes), None, {}
        return super().sample(noise, latent_image, *rest, denoise_mask=denoise_mask, **more)

    def predict_noise(self, x: Tensor, timestep: Tensor, model_options: Any = None, seed: Any = None) -> Tensor:
        """The guided clean latent, packed like x."""
        options, sigma = model_options or {}, float(timestep.flatten()[0])
        if self._run is None:
            named = self._frozen.map(lambda frozen: self.own.negative is not None and not frozen)
            always = bool(options.get("disable_cfg1_optimization"))
            self._run = GuidedRun(self.own.guidance, frozen=self._frozen, negative=named, unconditioned=always)

        def predict(passes: Sequence[Pass]) -> list[Streams[Tensor]]:
            self._last = self.passes(passes, x, timestep, options)
            return [self._shape.tokens(self._last[a_pass.name]) for a_pass in passes]

        self._run.update(sigma, step_of(sigma, options.get("transformer_options", {})), predict)
        guided = self._shape.packed(self._run.guided(self._shape.tokens(x)))
        return self._told(guided, x, timestep, options)

    def passes(self, passes: Sequence[Pass], x: Tensor, timestep: Tensor, options: Options) -> dict[str, Tensor]:
        """Clean latents by name of the pass, packed like x; timestep (B,)."""
        texts = [a_pass for a_pass in passes if a_pass.name in TEXTS]
        found = dict(zip([str(a_pass.name) for a_pass in texts], self._call(texts, x, timestep, options), strict=True))
        for a_pass in passes:
            if a_pass.name not in found:
                found[a_pass.name] = self._call([a_pass], x, timestep, options)[0]
        return found

    def _call(self, passes: Sequence[Pass], x: Tensor, timestep: Tensor, options: Options) -> list[Tensor]:
        """Passes that are alike but for their prompt, through ComfyUI's own batching by memory."""
        conds = [self.conds["negative" if a_pass.name == "unconditioned" else "positive"] for a_pass in passes]
        inner = {**options.get("transformer_options", {}), PASS: passes[0]}
        if isinstance(self.own.model.transformer, ForeignNetwork):
            inner |= {**asked_of_foreign(passes[0], self.model_patcher.model.diffusion_model), **self._switches}
        asked = {**options, "transformer_options": inner}
        replaced = options.get("sampler_calc_cond_batch_function")
        if replaced is not None:
            what = {"conds": conds, "input": x, "sigma": timestep, "model": self.inner_model, "model_options": asked}
            return list(replaced(what))
        return list(comfy.samplers.calc_cond_batch(self.inner_model, conds, x, timestep, asked))

    def _told(self, guided: Tensor, x: Tensor, timestep: Tensor, options: Options) -> Tensor:
        """What others do after guidance: CFG++ rules listen here, some patches change the result."""
        conditioned = self._last.get("conditioned", guided)  # missing: every stream was given
        found = {
            "cond": self.conds["positive"],
            "uncond": self.conds.get("negative"),
            "cond_denoised": conditioned,
            "uncond_denoised": self._last.get("unconditioned", conditioned),
            "cond_scale": 1.0,
            "sigma": timestep,
            "input": x,
            "model": self.inner_model,
            "model_options": options,
        }
        for function in options.get("sampler_post_cfg_function", []):
            guided = function({**found, "denoised": guided})
        return guided


def native_guider(guider: Guider) -> NativeGuider:
    """Our guidance over a MODEL → GUIDER."""
    network = guider.model.transformer
    assert isinstance(network, PatchedNetwork | ForeignNetwork)
    return NativeGuider(guider, network.patcher)


def own_guider(guider: Any, name: str) -> Guider:
    """A GUIDER → our guidance in it; ValueError for one that is not ours."""
    if isinstance(guider, NativeGuider):
        return guider.own
    raise ValueError(
        f"{name}: expected Guider (LTX) or Preset Guider (LTX), found ComfyUI's {type(guider).__name__}; sample with "
        "SamplerCustomAdvanced, which takes it and Step Rule (LTX)"
    )


def _frozen(denoise_mask: Any, shapes: Sequence[tuple[int, ...]]) -> Streams[bool]:
    """Which streams are wholly given: they need no guidance."""
    empty = streams_of([torch.empty(shape, device="meta") for shape in shapes])
    if denoise_mask is None:
        return empty.map(lambda _: False)
    members = denoise_mask.unbind() if getattr(denoise_mask, "is_nested", False) else [denoise_mask]
    given = [not bool(mask.any()) for mask in members[: len(shapes)]]
    given += [False] * (len(shapes) - len(given))
    by_axes = dict(zip([len(shape) for shape in shapes], given, strict=True))
    return empty.map(lambda member: by_axes[member.ndim])
