"""Step rules. Each is a function `(denoise, latents, sigmas, callback, …) -> latents` on joint audio-video latents.

The dtype of the latents is the one that they are rounded to after every step: float32 is the house's default, bfloat16
gives the official rounding (spec sampling.md section 8). The arithmetic of a step is float32 in either case.
"""

from __future__ import annotations

from .ancestral import ancestral_step, sample_ancestral
from .cfgpp import cfgpp_step, sample_cfgpp
from .euler import euler_step, sample_euler
from .gradient_estimation import sample_gradient_estimation
from .loop import StepCallback, StepReport
from .res2s import Res2s, sample_res2s

__all__ = [
    "Res2s",
    "StepCallback",
    "StepReport",
    "ancestral_step",
    "cfgpp_step",
    "euler_step",
    "sample_ancestral",
    "sample_cfgpp",
    "sample_euler",
    "sample_gradient_estimation",
    "sample_res2s",
]
