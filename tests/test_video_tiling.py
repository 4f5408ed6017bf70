"""Tiles of the video VAE: plans and masks as properties, blending, tiled decode and encode, memory, refusals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from openltx.model_loaders.assemble import build_on_meta
from openltx.networks.video_vae.blending import Tile, blend
from openltx.networks.video_vae.config import BlockConfig, VideoDecoderConfig, VideoEncoderConfig
from openltx.networks.video_vae.decoder import DecoderNoise, VideoDecoder
from openltx.networks.video_vae.encoder import VideoEncoder
from openltx.networks.video_vae.memory import decode_bytes, encode_bytes, tiled_decode_bytes
from openltx.networks.video_vae.streaming import seeded_draw
from openltx.networks.video_vae.tiled import decode_tiled, decode_tiled_stream, encode_tiled
from openltx.networks.video_vae.tiling import (
    DEFAULT_TILING,
    AxisPlan,
    AxisTiling,
    ByCount,
    BySize,
    Tiling,
    announced_chunks,
    automatic_tiling,
    chunk_lengths,
    decode_plan,
    encode_plan,
    is_complementary,
    mask_sum,
    normalized,
)

FACTORS = {"frames": 8, "height": 32, "width": 32}


def size(tile: int, overlap: int) -> BySize:
    return BySize(tile_size=tile, overlap=overlap)


def block(kind: str, **fields: Any) -> BlockConfig:
    return BlockConfig(kind=kind, **fields)


UP = (block("compress_all", multiplier=2), block("compress_all"), block("compress_all"))
DOWN = (
    block("compress_all_res", multiplier=2),
    block("compress_all_res", multiplier=2),
    block("compress_all_res", multiplier=2),
)


def make_decoder(**changes: Any) -> VideoDecoder:
    fields: dict[str, Any] = {
        "out_channels": 3,
        "latent_channels": 4,
        "base_channels": 4,
        "patch_size": 4,
        "blocks": UP,
        "padding": "zeros",
        "causal": False,
        "timestep_conditioning": False,
    }
    decoder = VideoDecoder(VideoDecoderConfig(**(fields | changes)))
    filled(decoder)
    return decoder


def make_encoder() -> VideoEncoder:
    config = VideoEncoderConfig(
        in_channels=3, latent_channels=8, patch_size=4, blocks=DOWN, padding="zeros", log_variance="uniform"
    )
    encoder = VideoEncoder(config)
    filled(encoder)
    return encoder


def filled(network: Any) -> Any:
    generator = torch.Generator().manual_seed(1)
    for name, tensor in network.state_dict().items():
        tensor.normal_(generator=generator)
        if name.endswith("std-of-means"):
            tensor.abs_().add_(0.5)
        elif tensor.ndim > 2:
            tensor.div_(tensor[0].numel() ** 0.5)
    return network.eval().requires_grad_(False)


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


# --- plans -----------------------------------------------------------------------------------------------------------


@st.composite
def axes(draw: st.DrawFn) -> tuple[str, int, AxisTiling]:
    name = draw(st.sampled_from(sorted(FACTORS)))
    length = draw(st.integers(1, 70))
    if draw(st.booleans()):
        count = draw(st.integers(1, length))
        return name, length, ByCount(num_tiles=count, overlap=draw(st.integers(0, (length - 1) // count)))
    cells = draw(st.integers(2, 20))
    factor = FACTORS[name]
    return name, length, size(cells * factor, draw(st.integers(0, cells - 1)) * factor)


def plans_of(name: str, length: int, axis: AxisTiling) -> list[AxisPlan]:
    found = [decode_plan(length, axis, FACTORS[name], name=name)]
    overlap = axis.overlap if isinstance(axis, BySize) else axis.overlap * FACTORS[name]
    if overlap >= (16 if name == "frames" else 64):
        found.append(encode_plan(length, axis, FACTORS[name], name=name))
    return found


@settings(deadline=None)
@given(axes())
def test_tiles_cover_the_axis_in_order(case: tuple[str, int, AxisTiling]) -> None:
    name, length, axis = case
    for index, plan in enumerate(plans_of(name, length, axis)):
        pixels = 8 * (length - 1) + 1 if name == "frames" else 32 * length
        whole = (pixels, length) if index == 0 else (length, pixels)
        for which, total in (("target", whole[0]), ("source", whole[1])):
            spans = [getattr(tile, which) for tile in plan]
            assert spans[0].start == 0
            assert max(span.end for span in spans) == total
            for before, after in zip(spans, spans[1:], strict=False):
                assert before.start <= after.start <= before.end <= after.end
        assert all(tile.mask.numel() == tile.target.end - tile.target.start for tile in plan)


@settings(deadline=None)
@given(axes())
def test_normalized_masks_sum_to_one(case: tuple[str, int, AxisTiling]) -> None:
    for plan in plans_of(*case):
        assert all(bool((tile.mask >= 0).all()) and bool((tile.mask <= 1).all()) for tile in plan)
        torch.testing.assert_close(mask_sum(normalized(plan)), torch.ones_like(mask_sum(plan)))
        if is_complementary(plan):
            assert normalized(plan) is plan


@settings(deadline=None)
@given(axes())
def test_ramps_that_do_not_meet_are_complementary(case: tuple[str, int, AxisTiling]) -> None:
    plan = decode_plan(case[1], case[2], FACTORS[case[0]], name=case[0])
    if all(tile.target.left + tile.target.right <= tile.mask.numel() for tile in plan):
        assert is_complementary(plan)


def test_first_frame_of_a_later_tile_has_no_weight() -> None:
    plan = decode_plan(16, size(80, 24), 8, name="frames")
    assert [float(tile.mask[0]) for tile in plan] == [1, 0]
    assert chunk_lengths(plan) == [48, 73]


def test_published_defaults() -> None:
    assert DEFAULT_TILING.axes == (size(80, 24), size(768, 64), size(768, 64))
    assert automatic_tiling(704, 1280) == Tiling(frames=size(80, 24), height=size(416, 64), width=size(768, 64))
    assert announced_chunks(121, size(80, 24)) == 3
    assert announced_chunks(121, None) == announced_chunks(121, size(0, 0)) == announced_chunks(1, size(80, 24)) == 1
    assert announced_chunks(121, ByCount(num_tiles=4, overlap=1)) == 4


def test_tile_size_zero_is_one_tile() -> None:
    (tile,) = decode_plan(31, size(0, 0), 8, name="frames")
    assert tile.target == (0, 241, 0, 0)


@pytest.mark.parametrize(
    ("axis", "message"),
    [
        (size(100, 32), "expected a tile size of at least 64 .* multiples of 32, found 100 and 32"),
        (size(32, 0), "at least 64"),
        (size(96, 96), "smaller overlap"),
        (size(96, -32), "smaller overlap"),
        (ByCount(num_tiles=0, overlap=0), "at least 1 tile"),
        (ByCount(num_tiles=9, overlap=0), "found 9 tiles with an overlap of 0 on 8 latent cells; use fewer tiles"),
        (ByCount(num_tiles=2, overlap=8), "use fewer tiles or less overlap"),
    ],
)
def test_tiles_that_do_not_fit_are_refused(axis: AxisTiling, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode_plan(8, axis, 32, name="width")


@pytest.mark.parametrize(
    ("name", "axis"), [("frames", size(80, 8)), ("width", size(96, 32)), ("height", ByCount(num_tiles=2, overlap=1))]
)
def test_small_overlaps_are_refused_for_encoding(name: str, axis: AxisTiling) -> None:
    with pytest.raises(ValueError, match=f"tiling of {name}: expected an overlap of at least .* for encoding"):
        encode_plan(20, axis, FACTORS[name], name=name)


def test_picture_smaller_than_a_cell_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 32 pixels, found 8x16"):
        automatic_tiling(8, 16)


# --- blending --------------------------------------------------------------------------------------------------------

SOME_TILINGS = [
    Tiling(),
    Tiling(frames=size(24, 8), width=size(64, 32)),
    Tiling(frames=size(24, 16), height=size(96, 64), width=size(64, 32)),  # ramps overlap
    Tiling(frames=ByCount(num_tiles=3, overlap=1), height=ByCount(num_tiles=2, overlap=0)),
]


@pytest.mark.parametrize("tiling", SOME_TILINGS)
def test_blending_parts_of_one_clip_gives_the_clip(tiling: Tiling) -> None:
    cells = (7, 4, 3)
    clip = random(2, 3, 49, 128, 96)
    frames, height, width = (
        decode_plan(length, axis, factor, name=name)
        for length, axis, (name, factor) in zip(cells, tiling.axes, FACTORS.items(), strict=True)
    )

    def run(tile: Tile) -> Iterator[Tensor]:
        spans = [slice(axis.target.start, axis.target.end) for axis in tile]
        yield from torch.split(clip[:, :, spans[0], spans[1], spans[2]], 5, dim=2)

    parts = list(blend((frames, height, width), run))
    torch.testing.assert_close(torch.cat(parts, dim=2), clip, rtol=1e-4, atol=1e-5)
    if len(frames) > 1:
        assert [part.shape[2] for part in parts] == [n for n in chunk_lengths(frames) if n]


def test_a_tile_of_another_length_is_our_mistake() -> None:
    frames = decode_plan(7, size(24, 8), 8, name="frames")
    height = width = decode_plan(1, None, 32, name="height")
    with pytest.raises(AssertionError, match="a tile gave 3 frames instead of 17"):
        list(blend((frames, height, width), lambda tile: [torch.zeros(1, 3, 3, 32, 32)]))


# --- networks --------------------------------------------------------------------------------------------------------


def test_one_tile_is_the_untiled_decode_and_encode() -> None:
    decoder, encoder = make_decoder(), make_encoder()
    latent, video = random(1, 4, 3, 2, 3), random(1, 3, 17, 64, 96)
    torch.testing.assert_close(decode_tiled(decoder, latent, DEFAULT_TILING), decoder.decode(latent))
    torch.testing.assert_close(encode_tiled(encoder, video), encoder.encode(video))


@pytest.mark.parametrize("tiling", SOME_TILINGS)
def test_tiles_keep_shapes_and_dtype(tiling: Tiling) -> None:
    decoder = make_decoder().to(torch.bfloat16)
    video = decode_tiled(decoder, random(1, 4, 7, 4, 3).half(), tiling)
    assert video.shape == (1, 3, 49, 128, 96)
    assert video.dtype is torch.float16
    assert video.isfinite().all()


def test_no_part_is_empty_and_memory_is_never_read_uninitialised() -> None:
    decoder, latent = make_decoder(), random(1, 4, 7, 2, 3)
    tiling = Tiling(frames=size(24, 16), width=size(64, 32))
    want = decode_tiled(decoder, latent, tiling)
    torch.use_deterministic_algorithms(True)  # fills new tensors with NaN
    try:
        parts = list(decode_tiled_stream(decoder, latent, tiling))
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(part.shape[2] for part in parts)
    assert torch.equal(torch.cat(parts, dim=2), want)


def test_conditioned_decoder_draws_tile_by_tile() -> None:
    shapes: list[tuple[int, ...]] = []
    draw = seeded_draw(3)

    def counted(shape: Any) -> Tensor:
        shapes.append(tuple(shape))
        return draw(shape)

    decoder = make_decoder(timestep_conditioning=True)
    tiling = Tiling(frames=size(16, 8), width=size(64, 32))
    decode_tiled(decoder, random(1, 4, 3, 2, 3), tiling, noise=DecoderNoise(draw=counted))
    assert shapes == [(1, 4, 2, 2, 2)] * 2 + [(1, 4, 3, 2, 2)] * 2


def test_refusals_of_the_networks_reach_the_caller() -> None:
    with pytest.raises(ValueError, match="latent: expected a tensor"):
        decode_tiled_stream(make_decoder(), random(1, 5, 1, 2, 2), DEFAULT_TILING)
    with pytest.raises(ValueError, match="multiple of 32"):
        encode_tiled(make_encoder(), random(1, 3, 1, 48, 64))
    with pytest.warns(UserWarning, match="the last 1 of 10 frames are left out"):
        assert encode_tiled(make_encoder(), random(1, 3, 10, 32, 32)).shape[2] == 2


# --- memory ----------------------------------------------------------------------------------------------------------


PUBLISHED_23 = tuple(
    block(kind, **fields)
    for kind, fields in [
        ("res_x", {"num_layers": 2}),
        ("compress_all", {"multiplier": 2}),
        ("res_x", {"num_layers": 2}),
        ("compress_all", {"multiplier": 1}),
        ("res_x", {"num_layers": 4}),
        ("compress_time", {"multiplier": 2}),
        ("res_x", {"num_layers": 6}),
        ("compress_space", {"multiplier": 2}),
        ("res_x", {"num_layers": 4}),
    ]
)


def published_decoder() -> VideoDecoder:
    config = VideoDecoderConfig(
        out_channels=3,
        latent_channels=128,
        base_channels=128,
        patch_size=4,
        blocks=PUBLISHED_23,
        padding="zeros",
        causal=False,
        timestep_conditioning=False,
    )
    return build_on_meta(lambda: VideoDecoder(config)).to(torch.bfloat16)


@pytest.mark.parametrize("cells", [(16, 24), (34, 60)])
def test_planned_bytes_of_a_decode_hold(cells: tuple[int, int], peak_bytes: Any) -> None:
    decoder, latent = published_decoder(), torch.empty(1, 128, 16, *cells, device="meta", dtype=torch.bfloat16)
    with peak_bytes(device="meta") as measured:
        for part in decoder.decode_stream(latent):
            del part
    planned = decode_bytes(32 * cells[0], 32 * cells[1])
    assert measured.peak <= planned <= 2 * measured.peak


def test_planned_bytes_of_a_tiled_decode_hold(peak_bytes: Any) -> None:
    decoder, latent = published_decoder(), torch.empty(1, 128, 16, 24, 40, device="meta", dtype=torch.bfloat16)
    with peak_bytes(device="meta") as measured:
        for part in decode_tiled_stream(decoder, latent, DEFAULT_TILING):
            del part
    assert measured.peak <= tiled_decode_bytes((80, 768, 768), 768, 1280) <= 2.5 * measured.peak


def test_planned_bytes_grow_with_the_element() -> None:
    assert encode_bytes(512, 768, element_size=4) == 2 * encode_bytes(512, 768)
