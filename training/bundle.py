"""Weights of the work folder -> one checkpoint in the published layout: `python -m openltx.training.bundle OUT`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from .embedded_config import SHIPPED, Sizes, metadata
from .initial import SEED, file_name, initial_value
from .stages.captions import tokenizer_text
from .stages.latents import MEAN, STATISTICS, STD
from .stages.parts import PREFIXES, build
from .store import WORK, Store

STATISTICS_NAMES = {"video": "vae.per_channel_statistics.", "audio": "audio_vae.per_channel_statistics."}


def bundle(store: Store, path: Path, *, sizes: Sizes = SHIPPED) -> list[str]:
    """Write the checkpoint, most tensors in bfloat16; returns the networks that are not trained yet."""
    tensors: dict[str, Tensor] = {}
    for name, prefix in PREFIXES.items():
        for key, tensor in build(nn.Module, name, sizes, store).state_dict().items():
            stored = file_name(prefix, key)
            tensors[stored] = tensor.detach().to(initial_value(stored, tensor, SEED).dtype).contiguous()
    if store.has(STATISTICS):
        for modality, prefix in STATISTICS_NAMES.items():
            for kind in (MEAN, STD):
                tensors[prefix + kind] = store.load(STATISTICS)[f"{modality} {kind}"]
    text = tokenizer_text(sizes).encode("utf-8")
    tensors["text_encoder.tokenizer_json"] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".part")
    save_file(tensors, beside, metadata(sizes))
    os.replace(beside, path)
    return [name for name in PREFIXES if not store.has(name)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m openltx.training.bundle", description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--work", type=Path, default=WORK, help="folder of the trained weights")
    options = parser.parse_args()
    untrained = bundle(Store(folder=options.work), options.out)
    print(f"{options.out}: {options.out.stat().st_size / 1e6:.1f} MB")
    if untrained:
        print(f"not trained yet: {', '.join(untrained)}")


if __name__ == "__main__":
    main()
