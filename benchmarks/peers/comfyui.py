"""ComfyUI's own networks, from the checkout that COMFYUI_PATH names, with its torch attention."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from ..cases import FPS, LoadedCase
from ..measure import Run
from . import Unsupported, loaded

sys.path.insert(0, os.environ["COMFYUI_PATH"])
# Read once, when ComfyUI is imported. On a CPU it would take a slower attention by default.
sys.argv = [sys.argv[0], "--use-pytorch-cross-attention", *([] if torch.cuda.is_available() else ["--cpu"])]
import comfy.options  # noqa: E402

comfy.options.enable_args_parsing()
import comfy.ops  # noqa: E402

OPERATIONS = comfy.ops.disable_weight_init  # what it takes when weights already have the dtype to compute in
AUDIO_CHANNELS = 8


def build(case: LoadedCase) -> Run:
    builders: dict[str, Callable[[LoadedCase], Run]] = {
        "transformer": _transformer,
        "video_decoder": _video_decoder,
        "video_encoder": _video_encoder,
        "vocoder": _vocoder,
        "gemma": _gemma,
    }
    return builders[case.component](case)


def _transformer(case: LoadedCase) -> Run:
    from comfy.ldm.lightricks.av_model import LTXAVModel

    network = loaded(
        lambda: LTXAVModel(**case.config, dtype=case.dtype, operations=OPERATIONS),
        case.tensors,
        missing=("embeddings_connector",),
    )
    frames, height, width = case.size
    inputs = case.inputs
    video = rearrange(inputs["video_latent"], "b (f h w) c -> b c f h w", f=frames, h=height, w=width).contiguous()
    audio = rearrange(inputs["audio_latent"], "b t (c m) -> b c t m", c=AUDIO_CHANNELS).contiguous()
    context = torch.cat([inputs["video_context"], inputs["audio_context"]], dim=-1)

    def run() -> list[Tensor]:
        out = network([video, audio], inputs["sigma"], context, attention_mask=None, frame_rate=FPS)
        return [rearrange(out[0], "b c f h w -> b (f h w) c"), rearrange(out[1], "b c t m -> b t (c m)")]

    return run


def _video_decoder(case: LoadedCase) -> Run:
    network = _video_vae(case, "encoder.")
    return lambda: [network.decode(case.inputs["latent"])]


def _video_encoder(case: LoadedCase) -> Run:
    network = _video_vae(case, "decoder.")
    return lambda: [network.encode(case.inputs["video"])]


def _video_vae(case: LoadedCase, missing: str) -> Any:
    from comfy.ldm.lightricks.vae.causal_video_autoencoder import VideoVAE

    def build() -> Any:
        network = VideoVAE(version=2, config=case.config)
        for name, buffer in network.per_channel_statistics.named_buffers():  # made for 128 channels only
            network.per_channel_statistics.register_buffer(name, buffer[: case.config["latent_channels"]].clone())
        return network

    return loaded(build, case.tensors, missing=(missing,))


def _vocoder(case: LoadedCase) -> Run:
    from comfy.ldm.lightricks.vocoders.vocoder import Vocoder, VocoderWithBWE

    kind = VocoderWithBWE if "bwe" in case.config else Vocoder
    network = loaded(lambda: kind(case.config), case.tensors)
    mel = rearrange(case.inputs["mel"], "b s t f -> b s f t").contiguous()
    return lambda: [network(mel)]


def _gemma(case: LoadedCase) -> Run:
    from comfy.text_encoders.llama import Gemma3_12B_Config, Llama2_

    config = case.config
    known = Gemma3_12B_Config(
        vocab_size=config["vocab_size"],
        hidden_size=config["hidden_size"],
        intermediate_size=config["intermediate_size"],
        num_hidden_layers=config["num_hidden_layers"],
        num_attention_heads=config["num_attention_heads"],
        num_key_value_heads=config["num_key_value_heads"],
    )
    network = loaded(lambda: Llama2_(known, device=case.device, dtype=case.dtype, ops=OPERATIONS), case.tensors)

    def run() -> list[Tensor]:
        _, states = network(case.inputs["ids"], intermediate_output="all", final_layer_norm_intermediate=False)
        if states is None:
            raise Unsupported("it returned no hidden states")
        return list(states.unbind(dim=1))

    return run
