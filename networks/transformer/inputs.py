"""What a call is given, and its checks (spec page transformer, section 3)."""

# B batch, T tokens, S text tokens, A position axes
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .config import Modality, StreamConfig, TransformerConfig
from .masks import StrengthRows

MergeTexts = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Stream:
    """One stream of a call. The dtype of `latent` is the one that the network computes in."""

    latent: Tensor  # B T C
    sigma: Tensor  # B, float32, in [0, 1]: the sample's noise level
    timesteps: Tensor  # B T 1 or B 1 1, float32, in [0, 1]: each token's noise level
    positions: Tensor  # B A T 2 (or 1 A T 2), float32: seconds, pixels, pixels; audio: seconds; [start, end)
    context: Tensor  # B S K, dtype of latent: from the stream's text connector
    context_mask: Tensor | None = None  # integer B S, 1 = keep; or an additive bias, broadcast to B heads T S
    # self-attention strength in [0, 1]: B T T, B 1 T or 1 1 T; or, for long sequences, made for a range of queries
    attention_mask: Tensor | StrengthRows | None = None
    # a second text, and what makes one of what the attention to either gives, each (B, heads, T, width of a head)
    other_context: Tensor | None = None  # B S K like context, of any length
    merge_texts: MergeTexts | None = None
    keyframes_mask: Tensor | None = None  # B T 1 (or 1 T 1), video: tokens that stand for one pixel frame are > 0
    enabled: bool = True  # False: its tokens are not updated, only read by the other stream


def check_streams(config: TransformerConfig, video: Stream | None, audio: Stream | None) -> None:
    """ValueError, naming the argument, for streams that the network cannot take."""
    if video is None and audio is None:
        raise ValueError("video, audio: expected at least one stream, found none")
    for name, stream in given_streams(video, audio):
        stream_config = config.stream(name)
        if stream_config is None:
            raise ValueError(f"{name}: this transformer has no {name} weights; leave the stream out")
        _check_stream(name, stream, stream_config, config.caption_channels or stream_config.width)
    if video is None or audio is None:
        return
    _expect("audio.latent", "batch size", video.latent.shape[0], audio.latent.shape[0])
    _expect("audio.latent", "dtype", video.latent.dtype, audio.latent.dtype)


def given_streams(video: Stream | None, audio: Stream | None) -> list[tuple[Modality, Stream]]:
    streams: list[tuple[Modality, Stream]] = []
    if video is not None:
        streams.append(("video", video))
    if audio is not None:
        streams.append(("audio", audio))
    return streams


def _check_stream(name: Modality, stream: Stream, config: StreamConfig, context_width: int) -> None:
    latent = stream.latent
    if latent.ndim != 3 or latent.shape[2] != config.in_channels or not latent.is_floating_point():
        raise ValueError(
            f"{name}.latent: expected floating-point tokens (B, T, {config.in_channels}), found {_describe(latent)}"
        )
    batch, tokens, _ = latent.shape
    axes = len(config.max_pos)
    _expect_shape(f"{name}.sigma", stream.sigma, [(batch,)])
    _expect_shape(f"{name}.timesteps", stream.timesteps, [(batch, tokens, 1), (batch, 1, 1)])
    _expect_shape(f"{name}.positions", stream.positions, [(batch, axes, tokens, 2), (1, axes, tokens, 2)])
    for field in ("sigma", "timesteps", "positions"):  # rounding positions to 16 bits destroys the output
        _expect(f"{name}.{field}", "dtype", torch.float32, getattr(stream, field).dtype)
    _check_context(f"{name}.context", stream.context, latent, context_width)
    if (stream.other_context is None) != (stream.merge_texts is None):
        raise ValueError(f"{name}.other_context, {name}.merge_texts: expected both or neither")
    if stream.other_context is not None:
        _check_context(f"{name}.other_context", stream.other_context, latent, context_width)
    _check_masks(name, stream)


def _check_context(name: str, context: Tensor, latent: Tensor, width: int) -> None:
    batch = latent.shape[0]
    if context.ndim != 3 or context.shape[0] != batch or context.shape[2] != width:
        raise ValueError(
            f"{name}: expected ({batch}, S, {width}), found {_describe(context)}; "
            "encode the prompt with the text connector of this model's generation"
        )
    _expect(name, "dtype", latent.dtype, context.dtype)


def _check_masks(name: Modality, stream: Stream) -> None:
    batch, tokens, _ = stream.latent.shape
    length = stream.context.shape[1]
    mask = stream.context_mask
    if mask is not None and not mask.is_floating_point():
        _expect_shape(f"{name}.context_mask", mask, [(batch, length)])
    elif mask is not None and (
        not 2 <= mask.ndim <= 4 or mask.shape[-1] != length or mask.shape[-2] not in (1, tokens)
    ):
        raise ValueError(
            f"{name}.context_mask: expected an additive bias that broadcasts to ({batch}, heads, {tokens}, {length}), "
            f"found {_describe(mask)}"
        )
    strengths = stream.attention_mask
    if isinstance(strengths, Tensor):
        shapes = [(batch, tokens, tokens), (batch, 1, tokens), (1, tokens, tokens), (1, 1, tokens)]
        _expect_shape(f"{name}.attention_mask", strengths, shapes)
    elif strengths is not None:
        shapes = [(batch, 1, tokens), (1, 1, tokens)]
        _expect_shape(f"{name}.attention_mask of query 0", strengths(slice(0, 1)), shapes)
    if stream.keyframes_mask is not None:
        if name != "video":
            raise ValueError(f"{name}.keyframes_mask: only video tokens can be keyframes; leave it out")
        _expect_shape(f"{name}.keyframes_mask", stream.keyframes_mask, [(batch, tokens, 1), (1, tokens, 1)])


def _expect_shape(name: str, tensor: Tensor, shapes: Sequence[tuple[int, ...]]) -> None:
    if tuple(tensor.shape) not in shapes:
        wanted = " or ".join(str(shape) for shape in dict.fromkeys(shapes))
        raise ValueError(f"{name}: expected shape {wanted}, found {_describe(tensor)}")


def _expect(name: str, what: str, expected: object, found: object) -> None:
    if expected != found:
        raise ValueError(f"{name}: expected {what} {expected}, found {found}")


def _describe(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
