"""One module an area of the golden vectors; importing a module registers its procedures."""

from __future__ import annotations

import importlib

AREAS = (
    *("transformer", "video_vae", "audio", "text", "latent_upscaler", "sampling", "conditioning", "media"),
    *("loading", "loading_lora"),
    *("pipelines", "pipelines_tiled", "pipelines_comfy"),
)


def load_all() -> None:
    for area in AREAS:
        importlib.import_module(f".{area}", __package__)
