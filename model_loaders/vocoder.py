"""Vocoder of a published file: configuration and network (audio.md sections 2.2 to 2.4)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from ..networks.operations import Operations, torch_operations
from ..networks.vocoder import BandwidthExtensionConfig, BandwidthExtensionVocoder, Generator, GeneratorConfig, Vocoder
from ..networks.vocoder.activation import kaiser_sinc_filter
from ..networks.vocoder.generator import MEL_BINS
from .assemble import assign, build_on_meta, refuse_mismatch, strip_prefix
from .checkpoint import Checkpoint, CheckpointError

PREFIX = "vocoder."
FIRST, SECOND, STFT = "vocoder.vocoder.", "vocoder.bwe_generator.", "vocoder.mel_stft."
FLAT_RATE, LOW_RATE, HIGH_RATE, HOP, N_FFT = 24000, 16000, 48000, 80, 512  # published values
RATES_OF_KERNELS = {
    (16, 15, 8, 4, 4): (6, 5, 2, 2, 2),
    (11, 4, 4, 4, 4, 4): (5, 2, 2, 2, 2, 2),
    (12, 11, 4, 4, 4): (6, 5, 2, 2, 2),
}
DILATIONS = (1, 3, 5)
Section = Mapping[str, Any]
Shapes = Mapping[str, tuple[int, ...]]

log = logging.getLogger(__name__)


def has_vocoder(checkpoint: Checkpoint) -> bool:
    """Whether a file holds a vocoder of any generation."""
    return f"{PREFIX}conv_pre.weight" in checkpoint.entries or _is_nested(checkpoint)


def vocoder_config(checkpoint: Checkpoint) -> GeneratorConfig | BandwidthExtensionConfig:
    """Generation 2 gives a GeneratorConfig, 2.3 and 2.5 a BandwidthExtensionConfig.

    What the metadata leave out is read from names and shapes. Raises CheckpointError for a file without a vocoder,
    for variants that are not supported, and where rates are neither in the metadata nor told by the kernel sizes.
    """
    if not has_vocoder(checkpoint):
        raise CheckpointError(
            f"{checkpoint.path}: expected a vocoder (tensors {PREFIX}…), found none; "
            "use a single-file checkpoint or the audio VAE file"
        )
    section = checkpoint.config.get("vocoder") or {}
    try:
        return _nested(section, checkpoint.shapes) if _is_nested(checkpoint) else _flat(section, checkpoint.shapes)
    except ValueError as error:
        raise CheckpointError(f"{checkpoint.path}: {error}") from error


def load_vocoder(checkpoint: Checkpoint, *, operations: Operations = torch_operations) -> Vocoder:
    """The vocoder in float32 on the CPU. Raises CheckpointError where the file does not hold it."""
    config = vocoder_config(checkpoint)

    def build() -> Vocoder:
        if isinstance(config, BandwidthExtensionConfig):
            return BandwidthExtensionVocoder(config, operations=operations)
        return Generator(config, operations=operations)

    network = build_on_meta(build)
    tensors = strip_prefix(checkpoint.names(), PREFIX)
    computed = _missing_filters(network.state_dict().keys() - tensors.keys(), checkpoint)
    shapes = {name: checkpoint.entries[key].shape for name, key in tensors.items()}
    refuse_mismatch(network, shapes | {name: tuple(t.shape) for name, t in computed.items()}, checkpoint, "vocoder")
    loaded = checkpoint.load(list(tensors.values()))
    return assign(network, {name: loaded[key] for name, key in tensors.items()} | computed).float()


def _missing_filters(missing: set[str], checkpoint: Checkpoint) -> dict[str, Any]:
    """Anti-aliasing filters that a file does not hold, by their formula."""
    names = [name for name in missing if name.endswith(".filter")]
    if names:
        log.warning("%s: holds no anti-aliasing filters of its vocoder; %d are computed", checkpoint.path, len(names))
    return {name: kaiser_sinc_filter().clone() for name in names}


def _is_nested(checkpoint: Checkpoint) -> bool:
    return f"{FIRST}conv_pre.weight" in checkpoint.entries


def _flat(section: Section, shapes: Shapes) -> GeneratorConfig:
    _require(section, "vocoder", resblock="1", stereo=True)
    return _generator(
        section,
        shapes,
        PREFIX,
        activation="leaky_relu",
        final_activation="tanh" if section.get("use_tanh_at_final", True) else "clamp",
        output_sampling_rate=section.get("output_sampling_rate", FLAT_RATE),
    )


def _nested(section: Section, shapes: Shapes) -> BandwidthExtensionConfig:
    first, second = section.get("vocoder", {}), section.get("bwe", {})
    for name, part in (("vocoder", first), ("bwe", second)):
        _require(part, name, resblock="AMP1", stereo=True, activation="snakebeta")
    _require(second, "bwe", num_mels=MEL_BINS)
    n_fft = shapes.get(f"{STFT}stft_fn.forward_basis", (0, 0, N_FFT))[2]
    return BandwidthExtensionConfig(
        generator=_generator(
            first,
            shapes,
            FIRST,
            activation="snakebeta",
            final_activation="tanh" if first.get("use_tanh_at_final", False) else "clamp",
            output_sampling_rate=second.get("input_sampling_rate", LOW_RATE),
        ),
        bwe_generator=_generator(
            second,
            shapes,
            SECOND,
            activation="snakebeta",
            final_activation="none",  # whatever apply_final_activation says
            output_sampling_rate=second.get("output_sampling_rate", HIGH_RATE),
        ),
        n_fft=second.get("n_fft", n_fft),
        hop_length=second.get("hop_length", HOP),
    )


def _require(section: Section, part: str, **supported: object) -> None:
    for name, value in supported.items():
        if section.get(name, value) != value:
            raise ValueError(
                f"vocoder: expected {name} {value!r} in the configuration of {part}, found {section[name]!r}; "
                "this variant is not supported"
            )


def _generator(section: Section, shapes: Shapes, prefix: str, **fixed: Any) -> GeneratorConfig:
    stages = _count(shapes, prefix + "ups.{}.weight")
    blocks = _count(shapes, prefix + "resblocks.{}.convs1.0.weight") // max(stages, 1)
    ups = [shapes[f"{prefix}ups.{i}.weight"] for i in range(stages)]
    kernels = tuple(section.get("upsample_kernel_sizes") or (shape[2] for shape in ups))
    found = tuple(shapes[f"{prefix}resblocks.{j}.convs1.0.weight"][2] for j in range(blocks))
    dilations = section.get("resblock_dilation_sizes") or [
        _dilations(shapes, f"{prefix}resblocks.{j}.") for j in range(blocks)
    ]
    return GeneratorConfig(
        initial_channels=section.get("upsample_initial_channel") or shapes[f"{prefix}conv_pre.weight"][0],
        upsample_rates=tuple(section.get("upsample_rates") or _rates(kernels)),
        upsample_kernel_sizes=kernels,
        resblock_kernel_sizes=tuple(section.get("resblock_kernel_sizes") or found),
        resblock_dilation_sizes=tuple(tuple(row) for row in dilations),
        final_bias=f"{prefix}conv_post.bias" in shapes,
        **fixed,
    )


def _count(shapes: Shapes, pattern: str) -> int:
    count = 0
    while pattern.format(count) in shapes:
        count += 1
    return count


def _rates(kernels: tuple[int, ...]) -> tuple[int, ...]:
    if kernels not in RATES_OF_KERNELS:
        raise ValueError(
            f"vocoder: no upsample_rates in the metadata and none known for kernel sizes {list(kernels)}; "
            "use a file with its config metadata"
        )
    return RATES_OF_KERNELS[kernels]


def _dilations(shapes: Shapes, block: str) -> tuple[int, ...]:
    count = _count(shapes, block + "convs1.{}.weight")
    if count != len(DILATIONS):
        raise ValueError(
            f"vocoder: no resblock_dilation_sizes in the metadata and {count} convolutions a block instead of "
            f"{len(DILATIONS)}; use a file with its config metadata"
        )
    return DILATIONS
