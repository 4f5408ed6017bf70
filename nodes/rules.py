"""SAMPLER on the wires: step rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from ..extensions import added
from ..samplers.denoiser import Denoise
from ..samplers.noise import SDE_SEED
from ..samplers.state import StreamState
from ..samplers.steps import (
    Res2s,
    StepCallback,
    sample_ancestral,
    sample_cfgpp,
    sample_euler,
    sample_gradient_estimation,
    sample_res2s,
)
from ..samplers.steps.loop import Advance, run_steps
from ..samplers.streams import Streams
from .host.api import io
from .noise import NoiseSource

RULES = ["euler", "euler_ancestral", "euler_cfg_pp", "euler_ancestral_cfg_pp", "gradient_estimation", "res_2s"]


class StepRule(Protocol):
    """A step rule with its options."""

    @property
    def needs_unconditioned(self) -> bool:
        """Whether it asks for the unconditioned prediction at any guidance."""

    def run(
        self,
        denoise: Denoise,
        states: Streams[StreamState],
        sigmas: Tensor,
        noise: NoiseSource,
        callback: StepCallback | None,
    ) -> Streams[Tensor]:
        """The denoised latents (B, T, C)."""


@dataclass(frozen=True, kw_only=True)
class ChangedRule:
    """Another rule, run with a change that the subclass makes."""

    rule: StepRule

    @property
    def needs_unconditioned(self) -> bool:
        return self.rule.needs_unconditioned


@dataclass(frozen=True, kw_only=True)
class NamedRule:
    """One of RULES."""

    name: str
    eta: float = 1.0
    s_noise: float = 1.0
    gamma: float = 2.0
    sde_seed: int = SDE_SEED

    @property
    def needs_unconditioned(self) -> bool:
        return self.name.endswith("cfg_pp")

    def run(
        self,
        denoise: Denoise,
        states: Streams[StreamState],
        sigmas: Tensor,
        noise: NoiseSource,
        callback: StepCallback | None,
    ) -> Streams[Tensor]:
        start = states.map(lambda state: state.latent)
        if self.name == "euler":
            return sample_euler(denoise, start, sigmas, callback)
        if self.name == "gradient_estimation":
            return sample_gradient_estimation(denoise, start, sigmas, callback, gamma=self.gamma)
        if self.name == "res_2s":
            sde = noise.sde(self.sde_seed)
            return sample_res2s(denoise, start, sigmas, callback, noise=sde, states=states, options=Res2s(eta=self.eta))
        if self.name == "euler_ancestral":
            return sample_ancestral(
                denoise, start, sigmas, callback, draw=noise.steps(), states=states, eta=self.eta, s_noise=self.s_noise
            )
        assert self.name in ("euler_cfg_pp", "euler_ancestral_cfg_pp"), self.name
        eta = self.eta if self.name == "euler_ancestral_cfg_pp" else 0.0
        return sample_cfgpp(
            denoise, start, sigmas, callback, draw=noise.steps(), states=states, eta=eta, s_noise=self.s_noise
        )


@dataclass(frozen=True, kw_only=True)
class AddedRule:
    """A step rule of another pack or script (extensions.py)."""

    name: str

    @property
    def needs_unconditioned(self) -> bool:
        return bool(getattr(added_rules()[self.name], "needs_unconditioned", False))

    def run(
        self,
        denoise: Denoise,
        states: Streams[StreamState],
        sigmas: Tensor,
        noise: NoiseSource,
        callback: StepCallback | None,
    ) -> Streams[Tensor]:
        start = states.map(lambda state: state.latent)
        return run_steps(denoise, start, sigmas, callback, added_rules()[self.name])


def added_rules() -> dict[str, Advance]:
    """Functions by name."""
    return added("step_rules", beside=RULES)


class Sampler(io.ComfyNode):
    """A step rule by name."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXSampler",
            display_name="Step Rule (LTX)",
            category="OpenLTX/sampling",
            description="How a stage steps from noise to latent, for video and sound together.",
            inputs=[
                io.Combo.Input(
                    "rule",
                    options=[*RULES, *added_rules()],
                    default="euler",
                    tooltip="euler: default. euler_ancestral: distilled LTX-2.5. res_2s: the HQ recipe. "
                    "cfg_pp: common in shared workflows of LTX-2.3.",
                ),
                io.Float.Input(
                    "eta",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Share of new noise a step: ancestral rules (1) and res_2s (0.5).",
                ),
                io.Float.Input(
                    "s_noise", default=1.0, min=0.0, max=10.0, step=0.01, tooltip="Scale of that noise; 1: unchanged."
                ),
                io.Float.Input(
                    "gamma",
                    default=2.0,
                    min=1.0,
                    max=5.0,
                    step=0.1,
                    tooltip="gradient_estimation: factor of its extrapolation; 1: none, as euler.",
                ),
                io.Int.Input(
                    "sde_seed",
                    default=SDE_SEED,
                    min=-1,
                    max=2**63 - 1,
                    tooltip="Seed of the noise inside res_2s; the official recipe uses -1 for every clip.",
                ),
            ],
            outputs=[
                io.Sampler.Output("sampler", tooltip="For Sample Stage (LTX), or ComfyUI's SamplerCustomAdvanced.")
            ],
        )

    @classmethod
    def execute(cls, rule: str, eta: float, s_noise: float, gamma: float, sde_seed: int) -> io.NodeOutput:
        if rule not in RULES:
            return io.NodeOutput(AddedRule(name=rule))
        return io.NodeOutput(NamedRule(name=rule, eta=eta, s_noise=s_noise, gamma=gamma, sde_seed=sde_seed))
