"""Preset `community`: what ComfyUI's core and its LTX node pack do, where it differs from the official recipes.

The official rule of everything is in the modules beside this folder; here are the others, by which shared workflows
were tuned (spec sampling.md section 9, pipelines.md sections 15 to 18).
"""

from __future__ import annotations

from .containers import CommunityLatent, CommunityStates, GuideAttention, community_states, dilate_guide
from .denoiser import CommunityDenoiser, community_noised
from .from_states import community_of, community_options
from .guidance import ChannelApg
from .masks import (
    GREEN,
    blend_curve,
    curve_in_pixels,
    grow_mask,
    inpaint_clip,
    latent_mask_frames,
    time_mask,
)
from .options import community_latent
from .spatial import SpatialPlan, blend_spatial, sample_spatial_tiles, spatial_weights

__all__ = [
    "GREEN",
    "ChannelApg",
    "CommunityDenoiser",
    "CommunityLatent",
    "CommunityStates",
    "GuideAttention",
    "SpatialPlan",
    "blend_curve",
    "blend_spatial",
    "community_latent",
    "community_noised",
    "community_of",
    "community_options",
    "community_states",
    "curve_in_pixels",
    "dilate_guide",
    "grow_mask",
    "inpaint_clip",
    "latent_mask_frames",
    "sample_spatial_tiles",
    "spatial_weights",
    "time_mask",
]
