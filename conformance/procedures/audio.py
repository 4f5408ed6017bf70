"""Golden cases of the area audio; always float32, as the area's networks are."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from ...model_loaders.assemble import assemble, strip_prefix
from ...model_loaders.audio_vae import audio_vae_config, load_audio_decoder, load_audio_encoder
from ...model_loaders.vocoder import load_vocoder
from ...networks.audio_vae import (
    PerChannelStatistics,
    decode_audio,
    encode_audio,
    log_mel,
    mel_frames,
    patchify,
    resample,
    waveform_samples,
)
from ...networks.vocoder.activation import AntiAliasedSnakeBeta
from ...networks.vocoder.mel_stft import causal_log_mel
from ...networks.vocoder.upsampler import upsample_waveform
from ...samplers.shapes import AudioRate, audio_latent_frames
from ...samplers.tokens import audio_positions, unpatchify_audio
from ..case import Case
from ..registry import procedure


@procedure("audio_vae")
def audio_vae(case: Case) -> dict[str, Tensor]:
    encoder = load_audio_encoder(case.checkpoint).to(case.device)
    decoder = load_audio_decoder(case.checkpoint).to(case.device)
    return {"latent": encoder(case.inputs["mel"]), "mel": decoder(case.inputs["latent"])}


@procedure("audio_vae.mel_frontend")
def mel_frontend(case: Case) -> dict[str, Tensor]:
    config = audio_vae_config(case.checkpoint)
    waveform = resample(case.inputs["waveform"], case.call["sampling_rate"], config.sampling_rate)
    mel = log_mel(
        waveform,
        sampling_rate=config.sampling_rate,
        n_fft=config.n_fft,
        hop_length=config.hop_length,
        mel_bins=config.mel_bins,
    )
    return {"mel": mel}


@procedure("audio_vae.encode_audio")
def encode_waveform(case: Case) -> dict[str, Tensor]:
    encoder = load_audio_encoder(case.checkpoint).to(case.device)
    return {"latent": encode_audio(encoder, case.inputs["waveform"], case.call["sampling_rate"])}


@procedure("audio_vae.decode_audio")
def decode_waveform(case: Case) -> dict[str, Tensor]:
    decoder = load_audio_decoder(case.checkpoint).to(case.device)
    vocoder = load_vocoder(case.checkpoint).to(case.device)
    waveform, rate = decode_audio(decoder, vocoder, case.inputs["latent"])
    _expect_rate(rate, case.call["sampling_rate"])
    return {"waveform": waveform}


@procedure("vocoder")
def vocoder(case: Case) -> dict[str, Tensor]:
    network = load_vocoder(case.checkpoint).to(case.device)
    _expect_rate(network.output_sampling_rate, case.call["output_sampling_rate"])
    return {"waveform": network(case.inputs["mel"])}


@procedure("vocoder.activation")
def activation(case: Case) -> dict[str, Tensor]:
    tensors = strip_prefix(case.checkpoint.names(), "vocoder.vocoder.act_post.")
    x = case.inputs["x"]
    network = assemble(
        lambda: AntiAliasedSnakeBeta(x.shape[1]), case.checkpoint, tensors, what="anti-aliased activation"
    )
    return {"y": network.to(case.device)(x)}


@procedure("vocoder.resampler")
def skip_upsampler(case: Case) -> dict[str, Tensor]:
    return {f"ratio_{ratio}": upsample_waveform(case.inputs["x"], ratio) for ratio in case.call["ratios"]}


@procedure("vocoder.mel_stft")
def mel_stft(case: Case) -> dict[str, Tensor]:
    names = ("vocoder.mel_stft.stft_fn.forward_basis", "vocoder.mel_stft.mel_basis")
    bases = case.checkpoint.load(list(names))
    forward_basis, mel_basis = (bases[name] for name in names)
    mel = causal_log_mel(case.inputs["waveform"][:, None], forward_basis, mel_basis, case.call["hop_length"])
    return {"log_mel": mel[:, 0].mT}


@procedure("audio.resample")
def resample_pairs(case: Case) -> dict[str, Tensor]:
    waveform = case.inputs["waveform"]
    return {f"{source}_{target}": resample(waveform, source, target) for source, target in case.call["pairs"]}


@procedure("audio_patchifier")
def patchifier(case: Case) -> dict[str, Tensor]:
    latent = case.inputs["latent"]
    batch, channels, frames, bins = latent.shape
    tensors = strip_prefix(case.checkpoint.names(), "audio_vae.per_channel_statistics.")
    statistics = assemble(
        lambda: PerChannelStatistics(channels, bins), case.checkpoint, tensors, what="audio statistics"
    ).to(case.device)

    rate = AudioRate(sample_rate=case.call["sample_rate"], hop=case.call["hop_length"])
    bounds = partial(audio_positions, frames, batch=batch, rate=rate)
    tokens = patchify(latent)
    denormalized = statistics.denormalize(latent)
    return {
        "tokens": tokens,
        "unpatchified": unpatchify_audio(tokens, channels=channels),
        "latent_unnormalized": denormalized,
        "tokens_unnormalized": patchify(denormalized),
        "tokens_normalized": patchify(statistics.normalize(latent)),
        "bounds_causal": bounds(),
        "bounds_noncausal": bounds(causal=False),
        "bounds_shift2": bounds(shift=2),
    }


@procedure("audio_latent_length")
def latent_length(case: Case) -> dict[str, Tensor]:
    latents = [audio_latent_frames(frames, fps) for frames, fps in case.call["pairs"]]
    return {
        "latent_frames": torch.tensor(latents),
        "mel_frames_decoded": torch.tensor([mel_frames(count) for count in latents]),
        "samples_gen2": torch.tensor([waveform_samples(count, output_sampling_rate=24000) for count in latents]),
        "samples_gen23": torch.tensor([waveform_samples(count, output_sampling_rate=48000) for count in latents]),
    }


def _expect_rate(found: int, expected: int) -> None:
    if found != expected:
        raise ValueError(f"expected a waveform at {expected} Hz, found {found} Hz")
