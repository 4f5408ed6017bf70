"""The networks of the embedded model while they are trained: names in the work folder, prefixes in the checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from ...model_loaders.assemble import build_on_meta
from ..embedded_config import Sizes
from ..initial import DIFFUSION, SEED, file_name, initial_value, networks
from ..store import Store

Network = TypeVar("Network", bound=nn.Module)

PREFIXES = {
    "transformer": DIFFUSION,
    "video_connector": f"{DIFFUSION}video_embeddings_connector.",
    "audio_connector": f"{DIFFUSION}audio_embeddings_connector.",
    "projection": "text_embedding_projection.",
    "text": "text_encoder.model.",
    "video_encoder": "vae.encoder.",
    "video_decoder": "vae.decoder.",
    "audio_encoder": "audio_vae.encoder.",
    "audio_decoder": "audio_vae.decoder.",
    "vocoder": "vocoder.",
}


def build(
    kind: type[Network],
    name: str,
    sizes: Sizes,
    store: Store,
    begin: Callable[[str, Tensor], Tensor] = lambda name, value: value,
) -> Network:
    """The network `name` in float32, with its weights from the store where it has them, else fresh ones.

    A VAE works in its own units while it is trained: its statistics are the identity, those of the stage
    `statistics` are kept beside it. begin(parameter name, usual initial value) -> initial value.
    """
    prefix = PREFIXES[name]
    network = build_on_meta(lambda: networks(sizes)[prefix]).to_empty(device="cpu")
    assert isinstance(network, kind)
    if not store.restore(name, network, prefix):
        with torch.no_grad():
            for key, tensor in network.state_dict().items():
                tensor.copy_(begin(key, initial_value(file_name(prefix, key), tensor, SEED).float()))
    for key, tensor in network.state_dict().items():
        if key.endswith(("mean-of-means", "std-of-means")):
            tensor.fill_(float(key.endswith("std-of-means")))
    return network.train()


def trained(store: Store, name: str, stage: str) -> None:
    """ValueError where the store lacks what a stage starts from."""
    if not store.has(name):
        raise ValueError(f"{store.path(name)}: no such file; run the stage {stage} first")
