"""Guidance: formulas on predictions of the clean latent, and the passes that they need (spec sampling.md section 7)."""

from __future__ import annotations

from .defaults import HQ_GUIDANCE, HQ_STEPS, STEPS, default_guidance
from .multimodal import Guidance, GuidanceAt, GuidanceBySigma, Predictions, guide
from .nag import Nag
from .passes import Blocks, Pass, PassName
from .plan import plan_passes
from .text_rules import Apg, Cfg, CfgStar, MomentumApg, TextRule

__all__ = [
    "HQ_GUIDANCE",
    "HQ_STEPS",
    "STEPS",
    "Apg",
    "Blocks",
    "Cfg",
    "CfgStar",
    "Guidance",
    "GuidanceAt",
    "GuidanceBySigma",
    "MomentumApg",
    "Nag",
    "Pass",
    "PassName",
    "Predictions",
    "TextRule",
    "default_guidance",
    "guide",
    "plan_passes",
]
