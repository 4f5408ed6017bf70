"""Audio VAE and vocoder: structure of published files, detection, refusals, exact pieces, arithmetic."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from openltx.model_loaders.assemble import build_on_meta
from openltx.model_loaders.audio_vae import audio_vae_config, load_audio_decoder, load_audio_encoder
from openltx.model_loaders.checkpoint import Checkpoint, CheckpointError, TensorEntry, open_checkpoint
from openltx.model_loaders.vocoder import load_vocoder, vocoder_config
from openltx.networks.audio_vae import (
    AudioDecoder,
    AudioEncoder,
    AudioVAEConfig,
    decode_audio,
    decode_mel,
    encode_audio,
    log_mel,
    mel_frames,
    resample,
    to_stereo,
    waveform_samples,
)
from openltx.networks.vocoder import (
    BandwidthExtensionConfig,
    BandwidthExtensionVocoder,
    Generator,
    GeneratorConfig,
    Vocoder,
    vocode,
)
from openltx.networks.vocoder.activation import kaiser_sinc_filter

ROOT = Path(__file__).resolve().parents[1]
MANIFESTS = ROOT.parent / "shared" / "manifests"
Network = TypeVar("Network", bound=nn.Module)
GENERATIONS = ("2-19b", "2.3-22b", "2.5-22b")
PUBLISHED: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {  # rates, kernel sizes
    "first": ((5, 2, 2, 2, 2, 2), (11, 4, 4, 4, 4, 4)),
    "second": ((6, 5, 2, 2, 2), (12, 11, 4, 4, 4)),
    "flat": ((6, 5, 2, 2, 2), (16, 15, 8, 4, 4)),
}


def published(component: str, generation: str, *, metadata: bool = True, without: str = "") -> Checkpoint:
    """The header of a published file, rebuilt from its manifest."""
    path = MANIFESTS / f"{component}-ltx-{generation}.json"
    if not path.exists():
        pytest.skip(f"MANIFEST NOT FOUND: {path}; names and shapes of published files are NOT checked")
    manifest = json.loads(path.read_text())
    entries = {
        name: TensorEntry(dtype=dtype, shape=tuple(shape), start=0, end=0)
        for name, (shape, dtype) in manifest["tensors"].items()
        if not (without and name.startswith(without))
    }
    config = {"config": json.dumps(manifest["config"])} if metadata else {}
    return Checkpoint(path=path, metadata=config, entries=entries)


def generator_config(kind: str, *, sampling_rate: int, snake: bool, width: int = 64) -> GeneratorConfig:
    return GeneratorConfig(
        initial_channels=width,
        upsample_rates=PUBLISHED[kind][0],
        upsample_kernel_sizes=PUBLISHED[kind][1],
        resblock_kernel_sizes=(3, 7, 11),
        resblock_dilation_sizes=((1, 3, 5),) * 3,
        activation="snakebeta" if snake else "leaky_relu",
        final_activation={"flat": "tanh", "first": "clamp", "second": "none"}[kind],  # type: ignore[arg-type]
        final_bias=not snake,
        output_sampling_rate=sampling_rate,
    )


def small_vocoder(kind: str) -> Vocoder:
    """Published rates and kernels at small widths, seeded weights that keep the signal alive."""
    if kind == "flat":
        return seeded(Generator(generator_config("flat", sampling_rate=24000, snake=False)))
    config = BandwidthExtensionConfig(
        generator=generator_config("first", sampling_rate=16000, snake=True),
        bwe_generator=generator_config("second", sampling_rate=48000, snake=True),
        n_fft=512,
        hop_length=80,
    )
    return seeded(BandwidthExtensionVocoder(config))


def small_vae_config(**changes: Any) -> AudioVAEConfig:
    return AudioVAEConfig(**{"channels": 8, "latent_channels": 2, "mel_bins": 16, **changes})


def seeded(network: Network) -> Network:
    generator = torch.Generator().manual_seed(1)
    for name, tensor in network.state_dict().items():
        if name.endswith(".filter"):
            tensor.copy_(kaiser_sinc_filter())
        elif name.endswith("std-of-means"):
            tensor.fill_(1.0)
        else:
            scale = 1 / max(1, tensor[0].numel()) ** 0.5 if tensor.ndim > 1 else 0.1
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * scale)
    return network.eval().requires_grad_(False)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("metadata", [True, False])
@pytest.mark.parametrize("generation", GENERATIONS)
def test_audio_vae_has_the_published_names_and_shapes(generation: str, metadata: bool) -> None:
    checkpoint = published("audio_vae", generation, metadata=metadata)
    config = audio_vae_config(checkpoint)
    assert config == AudioVAEConfig()
    halves = {
        "encoder": build_on_meta(lambda: AudioEncoder(config)),
        "decoder": build_on_meta(lambda: AudioDecoder(config)),
    }
    found = {
        f"audio_vae.{name}" if name.startswith("per_channel") else f"audio_vae.{half}.{name}": tuple(tensor.shape)
        for half, network in halves.items()
        for name, tensor in network.state_dict().items()
    }
    assert found == checkpoint.shapes
    assert len(found) == 102


@pytest.mark.parametrize("half", ["encoder", "decoder"])
def test_half_a_file_without_metadata_tells_its_configuration(half: str) -> None:
    other = {"encoder": "decoder", "decoder": "encoder"}[half]
    checkpoint = published("audio_vae", "2.3-22b", metadata=False, without=f"audio_vae.{other}.")
    assert audio_vae_config(checkpoint) == AudioVAEConfig()


@pytest.mark.parametrize("metadata", [True, False])
@pytest.mark.parametrize("generation", GENERATIONS)
def test_vocoder_has_the_published_names_and_shapes(generation: str, metadata: bool) -> None:
    checkpoint = published("vocoder", generation, metadata=metadata)
    config = vocoder_config(checkpoint)
    nested = isinstance(config, BandwidthExtensionConfig)
    assert nested == (generation != "2-19b")
    network = build_on_meta(lambda: BandwidthExtensionVocoder(config) if nested else Generator(config))  # type: ignore[arg-type]
    found = {f"vocoder.{name}": tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    assert found == checkpoint.shapes
    assert network.output_sampling_rate == (48000 if nested else 24000)
    assert network.samples_per_frame == (480 if nested else 240)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_metadata_and_shapes_give_the_same_vocoder(generation: str) -> None:
    with_metadata = vocoder_config(published("vocoder", generation))
    assert with_metadata == vocoder_config(published("vocoder", generation, metadata=False))


def edited(checkpoint: Checkpoint, change: dict[str, Any], *path: str) -> Checkpoint:
    config = json.loads(checkpoint.metadata["config"])
    section = config
    for name in path:
        section = section[name]
    section.update(change)
    return Checkpoint(path=checkpoint.path, metadata={"config": json.dumps(config)}, entries=checkpoint.entries)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"norm_type": "group"}, "norm_type"),
        ({"causality_axis": "width"}, "causality_axis"),
        ({"double_z": False}, "double_z"),
        ({"in_channels": 1}, "in_channels"),
        ({"ch_mult": [1, 2]}, "ch_mult"),
        ({"mel_bins": 66}, "mel_bins"),
    ],
)
def test_unsupported_audio_vae_is_refused_by_name(change: dict[str, Any], word: str) -> None:
    checkpoint = edited(published("audio_vae", "2.3-22b"), change, "audio_vae", "model", "params", "ddconfig")
    with pytest.raises(CheckpointError, match=word):
        audio_vae_config(checkpoint)


@pytest.mark.parametrize(
    ("generation", "path", "change", "word"),
    [
        ("2-19b", ["vocoder"], {"resblock": "2"}, "resblock"),
        ("2-19b", ["vocoder"], {"stereo": False}, "stereo"),
        ("2-19b", ["vocoder"], {"upsample_rates": [5, 5, 2, 2, 2]}, "upsample_kernel_sizes"),
        ("2-19b", ["vocoder"], {"resblock_dilation_sizes": [[1, 3, 5]]}, "dilations"),
        ("2.3-22b", ["vocoder", "vocoder"], {"activation": "snake"}, "activation"),
        ("2.3-22b", ["vocoder", "bwe"], {"resblock": "1"}, "resblock"),
        ("2.3-22b", ["vocoder", "bwe"], {"num_mels": 80}, "num_mels"),
        ("2.3-22b", ["vocoder", "bwe"], {"output_sampling_rate": 44100}, "multiple of 16000"),
        ("2.3-22b", ["vocoder", "bwe"], {"hop_length": 160}, "upsample_rates"),
    ],
)
def test_unsupported_vocoder_is_refused_by_name(
    generation: str, path: list[str], change: dict[str, Any], word: str
) -> None:
    checkpoint = edited(published("vocoder", generation), change, *path)
    with pytest.raises(CheckpointError, match=word):
        vocoder_config(checkpoint)


def test_unknown_rates_without_metadata_are_refused() -> None:
    checkpoint = published("vocoder", "2-19b", metadata=False)
    entry = TensorEntry(dtype="BF16", shape=(1024, 512, 18), start=0, end=0)
    odd = Checkpoint(path=checkpoint.path, metadata={}, entries=checkpoint.entries | {"vocoder.ups.0.weight": entry})
    with pytest.raises(CheckpointError, match="upsample_rates"):
        vocoder_config(odd)


def test_file_without_audio_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"vae.decoder.conv_in.weight": torch.zeros(1)}, path)
    checkpoint = open_checkpoint(path)
    for load in (load_audio_encoder, load_audio_decoder, load_vocoder):
        with pytest.raises(CheckpointError, match="found none"):
            load(checkpoint)


def saved_vocoder(folder: Path, *, without: str = "nothing") -> Checkpoint:
    """A small nested vocoder in bfloat16, as published files are."""
    network = small_vocoder("nested")
    tensors = {f"vocoder.{name}": t.bfloat16() for name, t in network.state_dict().items() if without not in name}
    path = folder / "vocoder.safetensors"
    save_file(tensors, path)
    return open_checkpoint(path)


def test_bfloat16_weights_are_computed_in_float32(tmp_path: Path) -> None:
    network = load_vocoder(saved_vocoder(tmp_path))
    assert {tensor.dtype for tensor in network.state_dict().values()} == {torch.float32}
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert network(random(1, 2, 2, 64)).dtype == torch.float32


def test_missing_filters_are_computed_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        network = load_vocoder(saved_vocoder(tmp_path, without=".filter"))
    assert "no anti-aliasing filters" in caplog.text
    assert torch.equal(network.state_dict()["vocoder.act_post.upsample.filter"], kaiser_sinc_filter())


def test_any_other_missing_tensor_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="mel_basis"):
        load_vocoder(saved_vocoder(tmp_path, without="mel_basis"))


def test_filter_formula() -> None:
    path = ROOT.parent / "shared" / "golden" / "audio" / "antialiased_snakebeta.safetensors"
    expected = torch.tensor([0.0020290, 0.0093895, -0.0255435, -0.0576574, 0.1285726, 0.4432098])
    found = kaiser_sinc_filter()[0, 0]
    torch.testing.assert_close(found[:6], expected, rtol=0, atol=1e-7)
    torch.testing.assert_close(found, found.flip(0), rtol=0, atol=0)
    if path.exists():
        stored = load_file(path)["vocoder.vocoder.act_post.upsample.filter"]
        torch.testing.assert_close(kaiser_sinc_filter(), stored, rtol=0, atol=1e-7)


@pytest.mark.parametrize("kind", ["flat", "nested"])
def test_pieces_of_a_vocoder_give_the_whole(kind: str) -> None:
    # In float64, because the logarithm between the two stages enlarges rounding where a band is near its floor.
    vocoder, mel = small_vocoder(kind).double(), random(1, 2, 150, 64).double()
    whole = vocoder(mel)
    assert whole.std() > 0.01
    torch.testing.assert_close(vocode(vocoder, mel, chunk_frames=40), whole, rtol=0, atol=1e-8)


@pytest.mark.parametrize("kind", ["flat", "nested"])
def test_context_covers_all_that_a_frame_reaches(kind: str) -> None:
    vocoder = small_vocoder(kind)
    frames, where = 2 * vocoder.context_frames + 21, vocoder.context_frames + 10
    mel = random(1, 2, frames, 64)
    mel[:, :, where] = torch.nan  # NaN spreads through every convolution and stays
    touched = vocoder(mel)[0, 0].isnan().nonzero()
    scale = vocoder.samples_per_frame
    first, last = int(touched.min()) // scale, int(touched.max()) // scale
    assert where - vocoder.context_frames <= first < where < last <= where + vocoder.context_frames
    assert last - first > vocoder.context_frames  # and it does not waste more than half


def test_pieces_that_would_split_an_inner_frame_are_aligned() -> None:
    config = BandwidthExtensionConfig(
        generator=tiny_generator((5, 2), (11, 4), 16000),
        bwe_generator=tiny_generator((6, 2, 2), (12, 4, 4), 48000),
        n_fft=32,
        hop_length=8,
    )
    vocoder: Vocoder = seeded(BandwidthExtensionVocoder(config)).double()
    assert vocoder.frame_alignment == 4
    mel = random(2, 2, 99, 64).double()
    torch.testing.assert_close(vocode(vocoder, mel, chunk_frames=13), vocoder(mel), rtol=0, atol=1e-8)


def tiny_generator(rates: tuple[int, ...], kernels: tuple[int, ...], sampling_rate: int) -> GeneratorConfig:
    return GeneratorConfig(
        initial_channels=16,
        upsample_rates=rates,
        upsample_kernel_sizes=kernels,
        resblock_kernel_sizes=(3,),
        resblock_dilation_sizes=((1, 3),),
        activation="snakebeta",
        final_activation="clamp",
        final_bias=False,
        output_sampling_rate=sampling_rate,
    )


@pytest.mark.parametrize("chunk", [1, 9, 50])
def test_pieces_of_the_decoder_give_the_whole(chunk: int) -> None:
    decoder: AudioDecoder = seeded(AudioDecoder(small_vae_config()))
    latent = random(1, 2, 101, 4)
    whole = decoder(latent)
    assert whole.shape == (1, 2, 401, 16)
    torch.testing.assert_close(decode_mel(decoder, latent, chunk_frames=chunk), whole, rtol=0, atol=2e-5)


def test_decoder_is_causal_and_sees_past_frames_back() -> None:
    decoder: AudioDecoder = seeded(AudioDecoder(small_vae_config()))
    latent = random(1, 2, 60, 4)
    latent[:, :, 10] = torch.nan
    rows = decoder(latent)[0, 0, :, 0].isnan().nonzero()
    first, last = int(rows.min()), int(rows.max())
    assert first == mel_frames(10)  # token 10 covers [4·10 − 3, 4·11 − 3)
    assert (last + 3) // 4 - 10 <= decoder.past_frames
    assert (last + 3) // 4 - 10 >= decoder.past_frames - 2


def test_decoder_with_attention_is_never_split() -> None:
    decoder: AudioDecoder = seeded(AudioDecoder(small_vae_config(mid_attention=True)))
    latent = random(1, 2, 20, 4)
    assert torch.equal(decode_mel(decoder, latent, chunk_frames=3), decoder(latent))


@pytest.mark.parametrize("samples", [513, 16000, 16001])
def test_encoded_lengths(samples: int) -> None:
    encoder: AudioEncoder = seeded(AudioEncoder(small_vae_config(mel_bins=64)))
    latent = encode_audio(encoder, random(1, 1, samples) * 0.1, 16000)
    frames = 1 + samples // 160
    assert latent.shape == (1, 2, -(-frames // 4), 16)


def test_round_trip_of_shapes() -> None:
    decoder: AudioDecoder = seeded(AudioDecoder(small_vae_config(mel_bins=64)))
    waveform, rate = decode_audio(decoder, small_vocoder("nested"), random(1, 2, 3, 16))
    assert rate == 48000
    assert waveform.shape == (1, 2, waveform_samples(3, output_sampling_rate=rate))
    assert waveform.abs().max() <= 1


def test_wrong_shapes_are_refused() -> None:
    encoder, decoder = AudioEncoder(small_vae_config()), AudioDecoder(small_vae_config())
    with pytest.raises(ValueError, match="log-mel"):
        encoder(random(1, 1, 8, 16))
    with pytest.raises(ValueError, match="latent"):
        decoder(random(1, 8, 8, 16))
    with pytest.raises(ValueError, match="frames, 64"):
        vocode(small_vocoder("flat"), random(1, 2, 8, 32))
    with pytest.raises(ValueError, match="chunk_frames"):
        vocode(small_vocoder("flat"), random(1, 2, 8, 64), chunk_frames=0)
    with pytest.raises(ValueError, match="chunk_frames"):
        decode_mel(decoder, random(1, 2, 8, 4), chunk_frames=0)
    with pytest.raises(ValueError, match="513 samples"):
        log_mel(random(1, 2, 512))
    with pytest.raises(ValueError, match="sample rates"):
        resample(random(1, 2, 512), 0, 16000)


@pytest.mark.parametrize("channels", [1, 2, 3, 6, 8])
def test_stereo_rules(channels: int) -> None:
    waveform = random(2, channels, 5)
    left, right = to_stereo(waveform).unbind(1)
    if channels == 2:
        expected = (waveform[:, 0], waveform[:, 1])
    elif channels == 6:
        expected = tuple((waveform[:, i] + 0.707 * (waveform[:, 2] + waveform[:, 4 + i])) / 2.414 for i in (0, 1))  # type: ignore[assignment]
    elif channels == 8:
        expected = tuple(
            (waveform[:, i] + 0.707 * (waveform[:, 2] + waveform[:, 4 + i] + waveform[:, 6 + i])) / 3.121
            for i in (0, 1)
        )  # type: ignore[assignment]
    else:
        expected = (waveform.mean(1), waveform.mean(1))
    torch.testing.assert_close((left, right), expected)
    with pytest.raises(ValueError, match="waveform"):
        to_stereo(waveform[0])


@pytest.mark.parametrize(("source", "target"), [(44056, 16000), (16000, 44056), (48000, 16000), (7, 5), (3, 1)])
def test_resample_keeps_a_tone(source: int, target: int) -> None:
    samples = 2 * source if source > 100 else 500
    cycles = 0.05 * min(source, target)  # cycles a second, well below both limits

    def tone(rate: int, count: int) -> Tensor:
        return torch.sin(2 * torch.pi * cycles * torch.arange(count, dtype=torch.float64) / rate).float()[None, None]

    found = resample(tone(source, samples), source, target)
    assert found.shape[-1] == -(-samples * target // source)
    edge = 20 * target // min(source, target)
    torch.testing.assert_close(
        found[..., edge:-edge], tone(target, found.shape[-1])[..., edge:-edge], rtol=0, atol=3e-3
    )


def test_resample_of_many_phases_equals_the_formula() -> None:
    source, target = 1009, 1013  # coprime, more phases than one block holds
    waveform = random(1, 1, 3000)
    found = resample(waveform, source, target)[0, 0].double()
    cutoff = 0.99 * source
    times = torch.arange(found.shape[0], dtype=torch.float64)[:, None] / target
    taps = torch.arange(waveform.shape[-1], dtype=torch.float64) / source
    t = ((taps - times) * cutoff).clamp(-6, 6)
    kernel = torch.sinc(t) * torch.cos(torch.pi * t / 12) ** 2 * cutoff / source
    torch.testing.assert_close(found, kernel @ waveform[0, 0].double(), rtol=0, atol=1e-5)


def test_constants_made_in_inference_mode_serve_training() -> None:
    with torch.inference_mode():
        resample(random(1, 2, 600), 8000, 12000)
        log_mel(random(1, 2, 600), mel_bins=48)
    waveform = random(1, 2, 600).requires_grad_()
    log_mel(resample(waveform, 8000, 12000), mel_bins=48).sum().backward()  # type: ignore[no-untyped-call]
    assert waveform.grad is not None


def test_decoded_lengths() -> None:
    assert mel_frames(126) == 501
    assert waveform_samples(126, output_sampling_rate=48000) == 240480
