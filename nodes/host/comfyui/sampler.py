"""SAMPLER in ComfyUI: our step rules under its samplers, on its packed latents (comfyui_host.md 3.7)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import comfy.model_patcher
import comfy.samplers
import torch
from torch import Tensor

from ....samplers.denoiser import Denoised
from ....samplers.shapes import VideoGrid
from ....samplers.state import StreamState, fresh_state
from ....samplers.steps import StepReport
from ....samplers.streams import Streams
from ....samplers.tokens import patchify_audio, patchify_video, unpatchify_audio, unpatchify_video
from ...noise import SeededNoise
from ...rules import StepRule
from .conditions import pack, streams_of, unpack


class NativeSampler(comfy.samplers.KSAMPLER):  # type: ignore[misc]  # ComfyUI is absent when types are checked
    """A step rule that any guider of ComfyUI can run."""

    def __init__(self, rule: StepRule) -> None:
        super().__init__(self._steps)
        self.rule = rule

    def _steps(
        self, model: Any, x: Tensor, sigmas: Tensor, *, extra_args: Any, callback: Any, disable: Any, **others: Any
    ) -> Tensor:
        """x: noised to the first sigma, packed; model(x, sigma (B,), …) → the guided clean latent, packed."""
        shape = Shape(shapes_of(model.inner_model, x))
        run = _Run(model, shape, extra_args, needs_unconditioned=self.rule.needs_unconditioned)

        def shown(report: StepReport) -> None:
            if callback is not None:
                now = {"x": run.x, "denoised": shape.packed(report.x0), "i": report.index}
                callback(now | {"sigma": report.sigma, "sigma_hat": report.sigma})

        noise = SeededNoise(extra_args.get("seed") or 0)
        return shape.packed(self.rule.run(run, shape.states(x), sigmas, noise, shown))


class Shape:
    """Between ComfyUI's packed latents and our tokens."""

    def __init__(self, shapes: Sequence[Sequence[int]]) -> None:
        self.shapes = shapes

    def tokens(self, x: Tensor) -> Streams[Tensor]:
        """(B, T, C) of each stream."""
        samples = streams_of(unpack(x, self.shapes))
        return Streams(
            video=None if samples.video is None else patchify_video(samples.video),
            audio=None if samples.audio is None else patchify_audio(samples.audio),
        )

    def packed(self, tokens: Streams[Tensor]) -> Tensor:
        """The inverse of `tokens`."""
        members = []
        for shape in self.shapes:
            if len(shape) == 5:
                assert tokens.video is not None
                members.append(unpatchify_video(tokens.video, VideoGrid(*shape[2:])))
            else:
                assert tokens.audio is not None
                members.append(unpatchify_audio(tokens.audio, channels=shape[1]))
        return pack(members)

    def states(self, x: Tensor) -> Streams[StreamState]:
        """For a step rule: start latents, and everything to be generated, because ComfyUI blends masks itself."""
        return self.tokens(x).map(lambda tokens: fresh_state(tokens, tokens.new_zeros(1, 1, tokens.shape[1], 2)))


def shapes_of(guider: Any, x: Tensor) -> list[tuple[int, ...]]:
    """Of the latents in a packed x, from what the model has said of the run; one latent is not packed."""
    for conds in getattr(guider, "conds", {}).values():
        for cond in conds:
            found = cond.get("model_conds", {}).get("latent_shapes")
            if found is not None:
                return [tuple(shape) for shape in found.cond]
    return [tuple(x.shape)]


class _Run:
    """The `Denoise` callable on ComfyUI's model."""

    def __init__(self, model: Any, shape: Shape, extra_args: dict[str, Any], *, needs_unconditioned: bool) -> None:
        self._model, self._shape, self._arguments = model, shape, extra_args
        self.x = torch.empty(0)  # of the last call
        self._unconditioned: Tensor | None = None
        if needs_unconditioned:
            options = extra_args.get("model_options", {}).copy()
            self._arguments = {**extra_args, "model_options": _listening(options, self._keep)}

    def __call__(self, latents: Streams[Tensor], sigma: Tensor, step: int | None = None, /) -> Denoised:
        self.x = self._shape.packed(latents)
        x0 = self._model(self.x, sigma.to(self.x) * self.x.new_ones(len(self.x)), **self._arguments)
        unconditioned = None if self._unconditioned is None else self._shape.tokens(self._unconditioned)
        return Denoised(x0=self._shape.tokens(x0), unconditioned=unconditioned)

    def _keep(self, found: dict[str, Any]) -> Tensor:
        """Without a negative prompt the conditioned prediction takes its place, as in our own samplers."""
        missing = found.get("uncond") is None
        self._unconditioned = found["cond_denoised"] if missing else found["uncond_denoised"]
        denoised: Tensor = found["denoised"]
        return denoised


def _listening(options: dict[str, Any], keep: Callable[[dict[str, Any]], Tensor]) -> dict[str, Any]:
    """Options with which a guider tells its unconditioned prediction, computed at any scale."""
    changed: dict[str, Any] = comfy.model_patcher.set_model_options_post_cfg_function(
        options, keep, disable_cfg1_optimization=True
    )
    return changed


def native_sampler(rule: StepRule) -> NativeSampler:
    """A step rule → SAMPLER."""
    return NativeSampler(rule)


def own_sampler(sampler: Any, name: str) -> StepRule:
    """A SAMPLER → the step rule in it; ValueError for one that is not ours."""
    if isinstance(sampler, NativeSampler):
        return sampler.rule
    function = getattr(getattr(sampler, "sampler_function", None), "__name__", type(sampler).__name__)
    raise ValueError(
        f"{name}: expected Step Rule (LTX), found ComfyUI's {function}; sample with SamplerCustomAdvanced, which takes "
        "it and Guider (LTX)"
    )
