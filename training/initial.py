"""The networks of the embedded checkpoint, the names of their tensors in the file, and legal values to begin with."""

from __future__ import annotations

import hashlib
import math

import torch
from torch import Tensor, nn

from ..networks.audio_vae import AudioDecoder, AudioEncoder
from ..networks.audio_vae.mel import mel_filter_bank
from ..networks.text.connector import Connector
from ..networks.text.features import SeparateProjection
from ..networks.text.gemma3 import Gemma3
from ..networks.transformer import Transformer
from ..networks.video_vae.decoder import VideoDecoder
from ..networks.video_vae.encoder import VideoEncoder
from ..networks.vocoder import BandwidthExtensionVocoder
from ..networks.vocoder.activation import kaiser_sinc_filter
from . import embedded_config as sizes

SEED = 23
DIFFUSION = "model.diffusion_model."
UNIT_SCALES = ("q_norm.weight", "k_norm.weight")  # of the transformer and the connectors; Gemma's are 1 + weight
QUIET = {"vocoder.vocoder.conv_post.weight": 0.01, "vae.decoder.conv_out.conv.weight": 0.5}
# With this at zero the second generator adds nothing: the output is the first one's, brought to 48 kHz.
SILENT = "vocoder.bwe_generator.conv_post.weight"


def networks(of: sizes.Sizes = sizes.SHIPPED) -> dict[str, nn.Module]:
    """Every network of the checkpoint, by its prefix in the file."""
    return {
        DIFFUSION: Transformer(of.transformer),
        f"{DIFFUSION}video_embeddings_connector.": Connector(of.video_connector),
        f"{DIFFUSION}audio_embeddings_connector.": Connector(of.audio_connector),
        "text_embedding_projection.": SeparateProjection(of.projection),
        "text_encoder.model.": Gemma3(of.text),
        "vae.encoder.": VideoEncoder(of.video_encoder),
        "vae.decoder.": VideoDecoder(of.video_decoder),
        "audio_vae.encoder.": AudioEncoder(of.audio_vae),
        "audio_vae.decoder.": AudioDecoder(of.audio_vae),
        "vocoder.": BandwidthExtensionVocoder(of.vocoder),
    }


def file_name(prefix: str, parameter: str) -> str:
    """The published name: both halves of a VAE share one set of statistics beside them."""
    name = prefix + parameter
    for half in ("encoder.", "decoder."):
        name = name.replace(f"vae.{half}per_channel_statistics.", "vae.per_channel_statistics.")
    return name


def initial_value(name: str, like: Tensor, seed: int) -> Tensor:
    """A legal value for the tensor `name` of the shape of `like`, in the dtype that published files have."""
    constant = _constant(name, like)
    if constant is not None:
        return constant
    if like.ndim < 2 or name.endswith("scale_shift_table"):
        one = name.endswith(UNIT_SCALES) and not name.startswith("text_encoder.")
        dtype = torch.float32 if "scale_shift_table" in name else torch.bfloat16
        return torch.full(like.shape, 1.0 if one else 0.0, dtype=dtype)
    digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little", signed=True))
    fan_in = like[0].numel()
    values = torch.randn(like.shape, generator=generator) * QUIET.get(name, 1.0) / math.sqrt(fan_in)
    return (values * (0.0 if name == SILENT else 1.0)).bfloat16()


def _constant(name: str, like: Tensor) -> Tensor | None:
    """Tensors that follow from a formula: statistics, filters, the mel front end of the vocoder."""
    if name.endswith("mean-of-means"):
        return torch.zeros_like(like)
    if name.endswith("std-of-means"):
        return torch.ones_like(like)
    if name.endswith(".filter"):
        return kaiser_sinc_filter().reshape(like.shape).clone()
    if name.endswith("mel_stft.mel_basis"):
        mels, frequencies = like.shape
        return mel_filter_bank(frequencies, mels, sizes.AUDIO_VAE.sampling_rate).T.contiguous()
    if name.endswith("stft_fn.forward_basis"):
        return fourier_basis(like.shape[2])
    if name.endswith("stft_fn.inverse_basis"):
        inverse: Tensor = torch.linalg.pinv(fourier_basis(like.shape[2])[:, 0])
        return inverse.T[:, None].contiguous()
    return None


def fourier_basis(n_fft: int) -> Tensor:
    """(2K, 1, n_fft), K = n_fft / 2 + 1: real rows, then imaginary ones, times a periodic Hann window."""
    angles = torch.outer(torch.arange(n_fft // 2 + 1), torch.arange(n_fft)).double() * (2 * math.pi / n_fft)
    window = torch.hann_window(n_fft, periodic=True, dtype=torch.float64)
    return (torch.cat([angles.cos(), -angles.sin()]) * window)[:, None].float()
