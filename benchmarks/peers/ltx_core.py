"""ltx-core, the official library, by its public configurators. Its audio part needs torchaudio."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from ..cases import LoadedCase
from ..layouts import half
from ..measure import Run
from . import Unsupported, loaded

# not there where types are checked
perturbations: Any = import_module("ltx_core.guidance.perturbations")
transformer: Any = import_module("ltx_core.model.transformer")
video_vae: Any = import_module("ltx_core.model.video_vae")


def build(case: LoadedCase) -> Run:
    builders: dict[str, Callable[[LoadedCase], Run]] = {
        "transformer": _transformer,
        "video_decoder": _video_decoder,
        "video_encoder": _video_encoder,
        "vocoder": _vocoder,
    }
    if case.component not in builders:
        raise Unsupported("has none: it uses that of transformers, as diffusers does")
    return builders[case.component](case)


def _transformer(case: LoadedCase) -> Run:
    config = {"transformer": case.config}
    network = loaded(lambda: transformer.LTXModelConfigurator.from_config(config), case.tensors)
    inputs = case.inputs

    def stream(name: str) -> Any:
        latent = inputs[f"{name}_latent"]
        return transformer.Modality(
            latent=latent,
            sigma=inputs["sigma"],
            timesteps=inputs["sigma"][:, None],  # one for all tokens: its cheapest form
            positions=inputs[f"{name}_positions"],
            context=inputs[f"{name}_context"],
        )

    def run() -> list[Tensor]:
        return list(network(stream("video"), stream("audio"), perturbations.BatchedPerturbationConfig.empty(1)))

    return run


def _video_decoder(case: LoadedCase) -> Run:
    config = {"vae": case.config}
    network = loaded(lambda: video_vae.VideoDecoderConfigurator.from_config(config), half(case.tensors, "decoder."))
    return lambda: [network(case.inputs["latent"])]


def _video_encoder(case: LoadedCase) -> Run:
    config = {"vae": case.config}
    network = loaded(lambda: video_vae.VideoEncoderConfigurator.from_config(config), half(case.tensors, "encoder."))
    return lambda: [network(case.inputs["video"])]


def _vocoder(case: LoadedCase) -> Run:
    try:
        audio_vae: Any = import_module("ltx_core.model.audio_vae")
    except (ImportError, OSError) as error:
        raise Unsupported(f"its audio part cannot be imported here: {error}") from error
    network = loaded(lambda: audio_vae.VocoderConfigurator.from_config({"vocoder": case.config}), case.tensors)
    return lambda: [torch.as_tensor(network(case.inputs["mel"]))]
