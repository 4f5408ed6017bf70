"""LoRA and IC-LoRA training on real checkpoints.

`config` says what, `dataset` and `precompute` make latents and contexts, `adapters` go around layers, `strategies` say
what is given, `task` is what the loop trains, `samples` shows it, `export` writes the file, `run` does it all.
"""
