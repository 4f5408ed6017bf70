"""Diffusion decoder of LTX-2.5: files, operators, growth with the clip, noise, tiles, refusals."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from math import ceil
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from openltx.model_loaders.assemble import build_on_meta
from openltx.model_loaders.checkpoint import Checkpoint, CheckpointError, TensorEntry, open_checkpoint
from openltx.model_loaders.video_vae import (
    load_any_video_decoder,
    load_diffusion_decoder,
    load_video_decoder,
    video_vae_config,
)
from openltx.model_loaders.video_vae_detection import PUBLISHED_DIFFUSION_DECODER
from openltx.model_loaders.video_vae_diffusion import IGNORED, diffusion_decoder_config, fold_gates
from openltx.networks.attention import attention_backend
from openltx.networks.video_vae.decoder import DecoderNoise
from openltx.networks.video_vae.diffusion import blocks, layers, neighbourhood
from openltx.networks.video_vae.diffusion.config import DiffusionDecoderConfig
from openltx.networks.video_vae.diffusion.decoder import DiffusionDecoder
from openltx.networks.video_vae.diffusion.layers import Raised, Upsample
from openltx.networks.video_vae.diffusion.neighbourhood import Axis, neighbourhood_attention
from openltx.networks.video_vae.diffusion.rope import axis_widths, rotate, rotations
from openltx.networks.video_vae.diffusion.tiling import (
    GIB,
    automatic_diffusion_tiling,
    cell_intervals,
    diffusion_plan,
    overlap_floors,
    smallest_tile_cells,
)
from openltx.networks.video_vae.streaming import seeded_draw
from openltx.networks.video_vae.tiled import decode_tiled
from openltx.networks.video_vae.tiling import ByCount, BySize, Tiling, mask_sum, normalized

MANIFEST = Path(__file__).resolve().parents[2] / "shared" / "manifests" / "video_vae_diffusion-ltx-2.5-22b.json"
PUBLISHED = diffusion_decoder_config(PUBLISHED_DIFFUSION_DECODER, "x0")

TINY: dict[str, Any] = {
    "_class_name": "NADiffusionDecoder",
    "in_channels": 4,
    "out_channels": 3,
    "patch_size": 4,
    "head_dim": 8,
    "stage_channels": [32, 16, 8, 8, 8],
    "stage_depths": [1, 1, 1, 1, 2],
    "stage_kernels": [[3, 1, 1], [3, 3, 3], [3, 3, 3], [3, 3, 3], [3, 3, 3]],
    "upsamples": [[[1, 2, 2], 2], [[2, 1, 1], 2], [[2, 2, 2], 1], [[2, 2, 2], 1]],
    "stage5_kernel": [3, 3, 3],
    "t_emb_dim": 16,
    "timestep_scale_multiplier": 1000.0,
    "default_num_inference_steps": 1,
}


def tiny_config(prediction: str = "x0", **changes: Any) -> DiffusionDecoderConfig:
    return diffusion_decoder_config(TINY | changes, prediction)


def tiny_decoder(prediction: str = "x0", **changes: Any) -> DiffusionDecoder:
    decoder = DiffusionDecoder(tiny_config(prediction, **changes))
    generator = torch.Generator().manual_seed(1)
    for name, tensor in decoder.state_dict().items():
        tensor.normal_(generator=generator)
        if "norm" in name or name.endswith("std-of-means"):
            tensor.mul_(0.1).add_(1)
        elif tensor.ndim > 1:
            tensor.div_(tensor.shape[1] ** 0.5)
    return decoder.eval().requires_grad_(False)


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def size(tile: int, overlap: int) -> BySize:
    return BySize(tile_size=tile, overlap=overlap)


TILES = Tiling(frames=size(16, 8), width=size(64, 32))

# --- files -----------------------------------------------------------------------------------------------------------


def header(shapes: dict[str, tuple[int, ...]], config: dict[str, Any] | None) -> Checkpoint:
    entries = {key: TensorEntry(dtype="BF16", shape=shape, start=0, end=0) for key, shape in shapes.items()}
    metadata = {} if config is None else {"config": json.dumps(config)}
    return Checkpoint(path=Path("test.safetensors"), metadata=metadata, entries=entries)


def published(*, config: bool = True, prefix: str = "") -> Checkpoint:
    if not MANIFEST.is_file():
        pytest.skip(f"NOT TESTED: {MANIFEST} is absent, names and shapes of the diffusion decoder stay unchecked")
    data = json.loads(MANIFEST.read_text())
    shapes = {prefix + key.removeprefix(data["prefix"]): tuple(row[0]) for key, row in data["tensors"].items()}
    return header(shapes, data["config"] if config else None)


def test_names_and_shapes_are_the_published_ones() -> None:
    checkpoint = published()
    config = video_vae_config(checkpoint).diffusion
    assert config is not None
    decoder = build_on_meta(lambda: DiffusionDecoder(config))
    parts = ("decoder.", "per_channel_statistics.")
    found = {key: shape for key, shape in checkpoint.shapes.items() if key.startswith(parts)}
    ignored = [key for key in found if IGNORED.match(key.removeprefix("decoder."))]
    assert ignored == ["decoder.type_emb"]
    own = {key: tuple(tensor.shape) for key, tensor in decoder.state_dict().items()}
    named = {key if key.startswith(parts[1]) else f"decoder.{key}": shape for key, shape in own.items()}
    assert named == {key: shape for key, shape in found.items() if key not in ignored}


@pytest.mark.parametrize("prefix", ["", "vae."])
def test_file_without_metadata_is_the_published_one(prefix: str) -> None:
    assert video_vae_config(published(config=False, prefix=prefix)).diffusion == PUBLISHED
    assert video_vae_config(published()).diffusion == PUBLISHED


def test_published_geometry() -> None:
    assert PUBLISHED.factors == (8, 32, 32)
    assert PUBLISHED.unit == (2, 8, 8)
    assert PUBLISHED.smallest_latent == (3, 7, 7)
    assert PUBLISHED.ghost_frames == 2
    assert overlap_floors(PUBLISHED) == (40, 160, 160)
    assert smallest_tile_cells(PUBLISHED) == (6, 6, 6)
    assert (PUBLISHED.cells_of(16), PUBLISHED.frames_of(16)) == (61, 121)


def tiny_file(path: Path, extra: dict[str, Tensor] | None = None, prefix: str = "") -> Checkpoint:
    state = tiny_decoder().state_dict()
    tensors = {key if key.startswith("per_channel") else f"decoder.{key}": tensor for key, tensor in state.items()}
    tensors |= {f"decoder.{key}": tensor for key, tensor in (extra or {}).items()}
    vae = {
        "_class_name": "CausalDiffusionVAE",
        "encoder": {"out_channels": 4, "blocks": []},
        "decoder": TINY,
        "model_output_type": "x0",
    }
    clones = {prefix + key: tensor.clone() for key, tensor in tensors.items()}
    save_file(clones, str(path), {"config": json.dumps({"vae": vae})})
    return open_checkpoint(path)


@pytest.mark.parametrize("prefix", ["", "vae."])
def test_ignored_tensors_change_nothing(prefix: str, tmp_path: Path) -> None:
    extra = {
        "type_emb": torch.ones(4),
        "coarse_head.weight": torch.ones(2, 2),
        "diff_blocks.0.stage4_upsample.proj.bias": torch.ones(64),
    }
    decoder = load_any_video_decoder(tiny_file(tmp_path / "a.safetensors", extra, prefix))
    assert isinstance(decoder, DiffusionDecoder)
    latent = random(1, 4, 3, 2, 2)
    torch.testing.assert_close(decoder.decode(latent), tiny_decoder().decode(latent), rtol=1e-4, atol=1e-4)


def test_gates_scale_the_rows_of_the_layers_behind_them(tmp_path: Path) -> None:
    gates = {f"diff_blocks.1.{name}": random(8) for name in ("gate_msa", "gate_mlp", "gate_ctx")}
    block = load_diffusion_decoder(tiny_file(tmp_path / "a.safetensors", gates)).diff_blocks[1]
    plain = tiny_decoder().diff_blocks[1]
    assert isinstance(block, blocks.DiffusionBlock)
    assert isinstance(plain, blocks.DiffusionBlock)
    gate = random(8)
    assert torch.equal(block.attn.proj.weight, plain.attn.proj.weight * gate[:, None])
    assert torch.equal(block.attn.proj.bias, plain.attn.proj.bias * gate)
    assert torch.equal(block.mlp.w_down.weight, plain.mlp.w_down.weight * gate[:, None])
    assert torch.equal(block.context_proj.bias, plain.context_proj.bias * gate)
    assert torch.equal(block.attn.qkv.weight, plain.attn.qkv.weight)


def test_gates_keep_the_dtype_and_unknown_ones_are_refused() -> None:
    state = {"diff_blocks.0.mlp.w_down.weight": torch.ones(2, 3).bfloat16(), "diff_blocks.0.gate_mlp": torch.ones(2)}
    assert [tensor.dtype for tensor in fold_gates(state).values()] == [torch.bfloat16]
    with pytest.raises(ValueError, match="unknown gate 'diff_blocks.0.gate_new'"):
        fold_gates({"diff_blocks.0.gate_new": torch.ones(2)})


def test_the_other_kind_of_file_is_refused(tmp_path: Path) -> None:
    diffusion = tiny_file(tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match="expected a convolutional video decoder, found a diffusion decoder"):
        load_video_decoder(diffusion)
    fields = {"encoder_blocks": [], "decoder_blocks": [], "latent_channels": 4}
    convolutional = header({"decoder.conv_in.conv.weight": (1, 1, 3, 3, 3)}, {"vae": fields})
    with pytest.raises(CheckpointError, match="expected a diffusion video decoder, found none; use the file"):
        load_diffusion_decoder(convolutional)
    with pytest.raises(ValueError, match="expected _class_name CausalDiffusionVAE"):
        video_vae_config(header({"decoder.conv_in.weight": (8, 4)}, {"vae": fields}))


@pytest.mark.parametrize("name", sorted(TINY.keys() - {"_class_name", "t_emb_dim"}))
def test_missing_fields_are_not_guessed(name: str) -> None:
    with pytest.raises(ValueError, match=f"expected the field '{name}', found none"):
        diffusion_decoder_config({key: value for key, value in TINY.items() if key != name}, "x0")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"_class_name": "Other"}, "_class_name must be 'NADiffusionDecoder', found 'Other'"),
        ({"rope_theta": 1}, "unknown fields rope_theta"),
        ({"stage_depths": [1, 1]}, r"expected five entries .* found \[5, 2, 5, 4\]"),
        ({"stage5_kernel": 3}, r"expected \[frames, height, width\], found 3"),
        ({"head_dim": 7}, "cannot be split over three axes|no multiple of head_dim 7"),
        ({"upsamples": [[[3, 2, 2], 2], *TINY["upsamples"][1:]]}, "multiplies frames by 1 or 2"),
        ({"upsamples": [[[1, 2, 2], 3], *TINY["upsamples"][1:]]}, "cannot be divided by the reduction 3"),
        (
            {"upsamples": [[[1, 2, 2], 1], *TINY["upsamples"][1:]]},
            "upsample 0 makes 32 channels, the next stage has 16",
        ),
        ({"default_num_inference_steps": 0}, "must be at least 1, found 0"),
        ({"stage5_kernel": [31, 3, 3]}, "the smallest clip is shorter than stage5_kernel"),
    ],
)
def test_unknown_configuration_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny_config(**changes)


def test_unknown_prediction_is_refused() -> None:
    with pytest.raises(ValueError, match="model_output_type must be 'x0' or 'v', found 'eps'"):
        tiny_config("eps")


def test_older_field_names_are_taken() -> None:
    fields = {key: value for key, value in TINY.items() if key != "head_dim"} | {
        "na_head_dim": 8,
        "stage5_channels": 16,
    }
    config = diffusion_decoder_config(fields, "v")
    assert (config.head_dim, config.channels[-1], config.prediction) == (8, 16, "v")


# --- operators -------------------------------------------------------------------------------------------------------


def naive_attention(q: Tensor, k: Tensor, v: Tensor, kernel: Sequence[int]) -> Tensor:
    out = torch.empty_like(q)
    sizes = q.shape[1:4]
    for at in product(*map(range, sizes)):
        first = [
            min(max(i - width // 2, 0), length - width) for i, width, length in zip(at, kernel, sizes, strict=True)
        ]
        window = (slice(None), *(slice(s, s + width) for s, width in zip(first, kernel, strict=True)))
        keys, values = (x[window].flatten(1, 3) for x in (k, v))  # B S N D
        frame, row, column = at
        weights = torch.einsum("bnd,bsnd->bns", q[:, frame, row, column], keys).softmax(-1)
        out[:, frame, row, column] = torch.einsum("bns,bsnd->bnd", weights, values)
    return out


KERNELS = [((1, 1, 1), (1, 2, 3)), ((3, 3, 5), (3, 4, 11)), ((3, 5, 3), (9, 5, 14)), ((1, 7, 7), (2, 25, 8))]


@pytest.mark.parametrize("gathered", [2**25, 1])
@pytest.mark.parametrize(("kernel", "sizes"), KERNELS)
def test_attention_is_the_naive_one(
    kernel: tuple[int, ...], sizes: tuple[int, ...], gathered: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbourhood, "GATHERED_ELEMENTS", gathered)
    monkeypatch.setattr(neighbourhood, "UNION", 6)
    q, k, v = random(3, 2, *sizes, 2, 4).unbind()
    axes = [Axis.whole(*both) for both in zip(sizes, kernel, strict=True)]
    torch.testing.assert_close(neighbourhood_attention(q, k, v, axes), naive_attention(q, k, v, kernel))


def test_short_axes_are_refused() -> None:
    x = random(1, 3, 3, 2, 1, 4)
    with pytest.raises(ValueError, match="expected at least 3 cells on every axis, found 2"):
        neighbourhood_attention(x, x, x, [Axis.whole(length, 3) for length in (3, 3, 2)])


def test_indices_do_not_wrap() -> None:
    side = 70_000
    volume = torch.empty(1).expand(1, 2, side, side, 1, 1)  # 9.8e9 cells without storage
    last = neighbourhood._cells([[1], [side - 1], [side - 1]], volume)
    assert last.item() == 2 * side * side - 1 > 2**33


def test_only_differences_of_positions_matter() -> None:
    q, k = random(2, 1, 3, 4, 5, 1, 16).unbind()
    scores = [
        torch.einsum("bthwnd,buvxnd->bthwuvx", rotate(q, tables), rotate(k, tables))
        for tables in (rotations(starts, (3, 4, 5), 16) for starts in ((0, 0, 0), (7, 2, -5)))
    ]
    torch.testing.assert_close(*scores, rtol=1e-4, atol=1e-4)


def test_axis_widths() -> None:
    assert [axis_widths(width) for width in (64, 16, 24, 8)] == [(16, 24, 24), (4, 6, 6), (4, 10, 10), (0, 4, 4)]
    with pytest.raises(ValueError, match="head width of 7"):
        axis_widths(7)


@pytest.mark.parametrize("starts_clip", [True, False])
def test_upsampled_frames_are_those_of_the_whole(starts_clip: bool) -> None:
    upsample = tiny_decoder().upsamples[3]
    assert isinstance(upsample, Upsample)
    x = random(2, 5, 2, 3, 8)
    whole = upsample(x, starts_clip=starts_clip)
    assert whole.shape == (2, 10 - starts_clip, 4, 6, 8)
    raised = Raised(upsample, x, starts_clip)
    for start in range(8):
        torch.testing.assert_close(raised.frames(start, start + 1), whole[:, start : start + 1])
        torch.testing.assert_close(raised.frames(start, 9), whole[:, start:9])


# --- pieces, growth, memory ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("repeat_columns", [False, True])
def test_result_does_not_depend_on_the_pieces(repeat_columns: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder, latent = tiny_decoder(), random(2, 4, 4, 2, 3)
    want = decoder.decode(latent, repeat_columns=repeat_columns)
    monkeypatch.setattr(layers, "SLAB_ELEMENTS", 1)
    monkeypatch.setattr(neighbourhood, "GATHERED_ELEMENTS", 1)
    monkeypatch.setattr(neighbourhood, "UNION", 5)
    for part in decoder.modules():
        if isinstance(part, layers.GatedMLP):
            part.tokens = 7
    got = decoder.decode(latent, repeat_columns=repeat_columns)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)


@contextmanager
def counted_scores() -> Iterator[list[int]]:
    """Numbers of scores (queries times keys) that attention calls compute."""
    found: list[int] = []

    def count(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float | None) -> Tensor:
        found.append(q[..., 0].numel() * k.shape[2])
        return q

    with attention_backend(count):
        yield found


def test_work_grows_linearly_with_the_clip() -> None:
    decoder = build_on_meta(lambda: DiffusionDecoder(tiny_config()))

    def scores(frames: int) -> int:
        latent = torch.empty(1, 4, frames, 2, 2, device="meta")
        with counted_scores() as found:
            decoder.decode(latent, noise=torch.empty(decoder.noise_shape(latent), device="meta"))
        return sum(found)

    short, long = scores(6), scores(12)
    assert long < 1.05 * short * tiny_config().frames_of(12) / tiny_config().frames_of(6)


def test_memory_grows_linearly_with_the_clip(peak_bytes: Any) -> None:
    decoder = tiny_decoder()

    def peak_of_decode(frames: int, tiling: Tiling | None = None) -> int:
        latent = random(1, 4, frames, 2, 2)
        noise = random(*decoder.noise_shape(latent))
        with peak_bytes(latent, noise) as measured:
            for part in decoder.decode_stream(latent, noise=noise, tiling=tiling):
                del part
        return int(measured.peak)

    untiled = peak_of_decode(24) - peak_of_decode(12)
    assert untiled < 1.05 * (peak_of_decode(48) - peak_of_decode(24)) / 2
    tiles = Tiling(frames=size(24, 8))
    # only the input of stage 4 and the sums of a group of tiles
    assert peak_of_decode(24, tiles) - peak_of_decode(12, tiles) < 0.1 * untiled


@pytest.mark.parametrize("tiling", [None, TILES])
def test_uninitialised_memory_never_reaches_the_video(tiling: Tiling | None) -> None:
    decoder, latent = tiny_decoder(), random(1, 4, 4, 2, 3)
    want = decoder.decode(latent, tiling=tiling)
    torch.use_deterministic_algorithms(True)  # fills new tensors with NaN
    try:
        got = decoder.decode(latent, tiling=tiling)
    finally:
        torch.use_deterministic_algorithms(False)
    assert got.isfinite().all()
    torch.testing.assert_close(got, want)


# --- decode ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 3), (3, 2, 2), (5, 3, 2)])
@pytest.mark.parametrize("tiling", [None, TILES])
def test_video_has_the_size_of_the_latent(shape: tuple[int, int, int], tiling: Tiling | None) -> None:
    decoder = tiny_decoder()
    latent = random(1, 4, *shape).half()
    parts = list(decoder.decode_stream(latent, tiling=tiling))
    video = torch.cat(parts, dim=2)
    assert video.shape == (1, 3, 8 * shape[0] - 7, 32 * shape[1], 32 * shape[2])
    assert video.dtype is torch.float16
    assert video.isfinite().all()
    assert all(part.shape[2] for part in parts)
    assert torch.equal(decoder.decode(latent, tiling=tiling), video)
    assert torch.equal(decode_tiled(decoder, latent, tiling or Tiling()), video)


def test_clips_of_a_batch_do_not_mix() -> None:
    decoder, latent = tiny_decoder(), random(2, 4, 3, 2, 2)
    noise = random(*decoder.noise_shape(latent))
    both = decoder.decode(latent, noise=noise)
    for i in range(2):
        one = decoder.decode(latent[i : i + 1], noise=noise[i : i + 1])
        torch.testing.assert_close(both[i : i + 1], one, rtol=1e-4, atol=1e-4)


def test_inputs_stay_as_they_are() -> None:
    decoder, latent = tiny_decoder("v", default_num_inference_steps=2), random(1, 4, 3, 2, 2)
    noise = random(*decoder.noise_shape(latent))
    kept = latent.clone(), noise.clone()
    decoder.decode(latent, noise=noise)
    assert torch.equal(latent, kept[0])
    assert torch.equal(noise, kept[1])


def test_repeated_columns_change_the_borders_only() -> None:
    decoder, latent = tiny_decoder(), random(1, 4, 3, 2, 4)
    plain, repeated = decoder.decode(latent), decoder.decode(latent, repeat_columns=True)
    border = 2 * (3 // 2) * 4  # blocks, cells to the side that a kernel sees, pixels a cell
    torch.testing.assert_close(repeated[..., border:-border], plain[..., border:-border], rtol=1e-4, atol=1e-4)
    for side in (repeated - plain)[..., :4], (repeated - plain)[..., -4:]:
        assert side.abs().max() > 1e-3


# --- noise -----------------------------------------------------------------------------------------------------------


def recorded(shapes: list[tuple[int, ...]]) -> DecoderNoise:
    draw = seeded_draw(5)

    def counted(shape: Sequence[int]) -> Tensor:
        shapes.append(tuple(shape))
        return draw(shape)

    return DecoderNoise(draw=counted)


def test_one_step_draws_tile_by_tile() -> None:
    shapes: list[tuple[int, ...]] = []
    tiny_decoder().decode(random(1, 4, 4, 2, 3), tiling=TILES, noise=recorded(shapes))
    want = [(1, 3, frames, 64, 64) for frames in (15, 16, 10) for _ in range(2)]
    assert shapes == want


@pytest.mark.parametrize(("prediction", "steps"), [("v", 1), ("x0", 2)])
def test_other_networks_draw_one_canvas(prediction: str, steps: int) -> None:
    shapes: list[tuple[int, ...]] = []
    decoder, latent = tiny_decoder(prediction, default_num_inference_steps=steps), random(1, 4, 4, 2, 3)
    got = decoder.decode(latent, tiling=TILES, noise=recorded(shapes))
    assert shapes == [decoder.noise_shape(latent)]
    assert torch.equal(got, decoder.decode(latent, tiling=TILES, noise=seeded_draw(5)(shapes[0])))


def test_untiled_draw_is_the_canvas_and_the_default_is_reproducible() -> None:
    decoder, latent = tiny_decoder(), random(1, 4, 1, 1, 2)
    assert decoder.noise_shape(latent) == (1, 3, 17, 64, 64)
    given_tensor = decoder.decode(latent, noise=seeded_draw(0)(decoder.noise_shape(latent)))
    assert torch.equal(decoder.decode(latent), given_tensor)


def test_wrong_inputs_are_refused_at_once() -> None:
    decoder, latent = tiny_decoder(), random(1, 4, 3, 2, 2)
    with pytest.raises(ValueError, match=r"noise: expected .* \(1, 3, 17, 64, 64\), found \(1, 3, 17, 64, 32\)"):
        decoder.decode_stream(latent, noise=random(1, 3, 17, 64, 32))
    with pytest.raises(ValueError, match="latent: expected a tensor"):
        decoder.decode_stream(random(1, 5, 3, 2, 2))
    with pytest.raises(ValueError, match="takes tiles by size"):
        decoder.decode_stream(latent, tiling=Tiling(frames=ByCount(num_tiles=2, overlap=1)))
    with pytest.raises(ValueError, match="overlap of at least 32 for the diffusion decoder, found 16"):
        decoder.decode_stream(latent, tiling=Tiling(width=size(64, 16)))
    with pytest.raises(ValueError, match="at least 24 .* multiples of 8, found 16 and 0"):
        decoder.decode_stream(latent, tiling=Tiling(width=size(16, 0)))


# --- tile plans ------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.integers(6, 150), st.integers(6, 60), st.data())
def test_tiles_cover_the_clip_and_are_large_enough(length: int, tile: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, tile - 1))
    intervals = cell_intervals(length, tile, overlap, 6)
    assert intervals[0].start == 0
    assert intervals[-1].end == length
    for before, after in zip(intervals, intervals[1:], strict=False):
        assert before.end - after.start == before.right == after.left
    assert all(interval.end - interval.start >= 6 for interval in intervals)


@settings(deadline=None)
@given(st.integers(6, 90), st.integers(6, 40), st.booleans(), st.data())
def test_masks_sum_to_one(length: int, tile: int, frames: bool, data: st.DataObject) -> None:
    axis = size(2 * tile, 2 * data.draw(st.integers(0, tile // 2)))
    plan = diffusion_plan(length, axis, 2, 6, frames=frames)
    assert mask_sum(plan).numel() == 2 * length - frames
    torch.testing.assert_close(mask_sum(normalized(plan)), torch.ones(2 * length - frames))


def best_by_trying_all(clip: tuple[int, int, int], free: int, weights: int) -> tuple[int, ...] | None:
    """Section 9.5 word by word."""
    frames, height, width = clip
    latent = (frames - 1) // 8 + 1
    features = (2 * (2 * (latent + 2) - 1) - 1) * (height // 8) * (width // 8) * 512 * 2
    usable = free - max(weights, GIB) - GIB - features
    ranges = [
        range(first, max(first, step * ceil(length / step)) + 1, step)
        for length, first, step in zip(clip, (80, 320, 320), (8, 32, 32), strict=True)
    ]
    ranked = []
    for tile in product(*ranges):
        left = usable - 2 * tile[0] * height * width * 3 * 2
        if left <= 0 or tile[0] * (tile[1] // 4) * (tile[2] // 4) > left // (512 * 5):
            continue
        n = [
            1 if length <= t else ceil((length - o) / (t - o))
            for length, t, o in zip(clip, tile, (40, 160, 160), strict=True)
        ]
        volume, count = tile[0] * tile[1] * tile[2], n[0] * n[1] * n[2]
        ranked.append((count * volume, -volume, count, *tile))
    return min(ranked)[3:] if ranked else None


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 40), st.integers(7, 34), st.integers(7, 45), st.integers(4, 60))
def test_automatic_tiles_are_the_best_of_all(frames: int, height: int, width: int, gib: int) -> None:
    clip = 8 * frames - 7, 32 * height, 32 * width
    want = best_by_trying_all(clip, gib * GIB, 0)
    if want is None:
        with pytest.raises(ValueError, match="bytes free for a clip of"):
            automatic_diffusion_tiling(PUBLISHED, clip, free_bytes=gib * GIB, weight_bytes=0)
        return
    tiling = automatic_diffusion_tiling(PUBLISHED, clip, free_bytes=gib * GIB, weight_bytes=0)
    assert tiling.axes == tuple(size(tile, overlap) for tile, overlap in zip(want, (40, 160, 160), strict=True))


def test_refusal_names_bytes_that_would_do() -> None:
    clip = (121, 704, 1280)
    with pytest.raises(ValueError, match="expected at least .* found 1073741824; free memory") as caught:
        automatic_diffusion_tiling(PUBLISHED, clip, free_bytes=GIB, weight_bytes=0)
    needed = int(str(caught.value).split("at least ")[1].split(" ")[0])
    automatic_diffusion_tiling(PUBLISHED, clip, free_bytes=needed, weight_bytes=0)
    with pytest.raises(ValueError, match="bytes free"):
        automatic_diffusion_tiling(PUBLISHED, clip, free_bytes=needed - 3000, weight_bytes=0)
