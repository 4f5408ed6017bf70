"""Latent upscalers: published files, detection, refusals, work in pieces, sizes, memory."""

from __future__ import annotations

import json
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from openltx.model_loaders.assemble import build_on_meta
from openltx.model_loaders.checkpoint import Checkpoint, CheckpointError, TensorEntry, open_checkpoint
from openltx.model_loaders.latent_upscaler import DEFAULTS, latent_upscaler_config, load_latent_upscaler
from openltx.networks.latent_upscaler import LatentUpscaler, LatentUpscalerConfig, upscale_latent
from openltx.networks.latent_upscaler.blocks import ResBlock
from openltx.networks.latent_upscaler.pieces import convolve, normalize
from openltx.networks.video_vae.statistics import MEAN, STD, PerChannelStatistics

MANIFESTS = Path(__file__).resolve().parents[2] / "shared" / "manifests"
Shapes = dict[str, tuple[int, ...]]

PUBLISHED = (
    "ltx-2-19b-spatial-x2",
    "ltx-2-19b-temporal-x2",
    "ltx-2.3-22b-spatial-x1.5",
    "ltx-2.3-22b-spatial-x2",
    "ltx-2.3-22b-temporal-x2",
    "ltx-2.5-22b-spatial-x2",
    "ltx-2.5-22b-temporal-x2",
)
TINY: dict[str, Any] = {
    "_class_name": "LatentUpsampler",
    "in_channels": 4,
    "mid_channels": 32,
    "num_blocks_per_stage": 1,
}
KINDS: dict[str, dict[str, Any]] = {
    "spatial": {},
    "spatial_dims2": {"dims": 2},
    "rational_x2": {"rational_resampler": True},
    "rational_x1.5": {"rational_resampler": True, "spatial_scale": 1.5},
    "rational_x0.75": {"rational_resampler": True, "spatial_scale": 0.75},
    "rational_x4": {"rational_resampler": True, "spatial_scale": 4},
    "temporal": {"temporal_upsample": True, "spatial_upsample": False, "spatial_scale": 1.0},
    "spatiotemporal": {"temporal_upsample": True},
}
NAMES: Shapes = {"initial_conv.weight": (32, 4, 3, 3, 3), "final_conv.weight": (4, 32, 3, 3, 3)}


def manifest(name: str) -> dict[str, Any]:
    path = MANIFESTS / f"latent_upscaler-{name}.json"
    if not path.is_file():
        pytest.skip(f"NOT TESTED: {path} is absent, names and shapes of {name} stay unchecked")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def header(shapes: Shapes, config: dict[str, Any] | None) -> Checkpoint:
    entries = {key: TensorEntry(dtype="BF16", shape=shape, start=0, end=0) for key, shape in shapes.items()}
    metadata = {} if config is None else {"config": json.dumps(config)}
    return Checkpoint(path=Path("test.safetensors"), metadata=metadata, entries=entries)


def tiny_config(kind: str, **changes: Any) -> LatentUpscalerConfig:
    return latent_upscaler_config(header(NAMES, TINY | KINDS[kind] | changes))


def shapes_of(network: nn.Module) -> Shapes:
    return {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}


def tiny(kind: str, **changes: Any) -> LatentUpscaler:
    """With weights that make every norm and activation matter."""
    torch.manual_seed(0)
    network = LatentUpscaler(tiny_config(kind, **changes)).eval().requires_grad_(False)
    for name, tensor in network.state_dict().items():
        if "norm" in name:
            tensor.uniform_(0.5, 1.5)
        if name.endswith("kernel"):
            tensor.copy_(torch.outer(*[torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16] * 2))
    return network


@pytest.fixture(autouse=True)
def _inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PUBLISHED)
def test_names_and_shapes_are_the_published_ones(name: str) -> None:
    data = manifest(name)
    shapes = {key: tuple(row[0]) for key, row in data["tensors"].items()}
    config = latent_upscaler_config(header(shapes, data["config"]))
    network = build_on_meta(lambda: LatentUpscaler(config))
    assert shapes_of(network) == shapes
    assert sum(tensor.numel() for tensor in network.state_dict().values()) == data["num_parameters"]


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_file_without_metadata_is_told_by_its_shapes(name: str) -> None:
    data = manifest(name)
    shapes = {key: tuple(row[0]) for key, row in data["tensors"].items()}
    assert latent_upscaler_config(header(shapes, None)) == latent_upscaler_config(header(shapes, data["config"]))


def test_no_manifest_is_forgotten() -> None:
    if not MANIFESTS.is_dir():
        pytest.skip(f"NOT TESTED: {MANIFESTS} is absent")
    assert sorted(path.stem for path in MANIFESTS.glob("latent_upscaler-*")) == [
        f"latent_upscaler-{n}" for n in PUBLISHED
    ]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "rational_x0.75"])
def test_detection_by_shapes(kind: str) -> None:
    config = tiny_config(kind, num_blocks_per_stage=2)
    shapes = shapes_of(build_on_meta(lambda: LatentUpscaler(config)))
    assert latent_upscaler_config(header(shapes, None)) == config
    assert latent_upscaler_config(header(shapes, {"vae": {}})) == config  # metadata of something else


def test_silent_fields_have_the_published_defaults() -> None:
    config = latent_upscaler_config(header(NAMES, {"dims": 3}))
    assert (config.in_channels, config.mid_channels, config.num_blocks_per_stage) == (128, 512, 4)
    assert (config.resampler, config.ratio) == ("spatial", (2, 1))


def save(path: Path, network: LatentUpscaler, config: dict[str, Any] | None) -> Checkpoint:
    tensors = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    save_file(tensors, str(path), None if config is None else {"config": json.dumps(config)})
    return open_checkpoint(path)


def test_file_loads_with_and_without_metadata(tmp_path: Path) -> None:
    network, x = tiny("rational_x1.5"), torch.randn(1, 4, 2, 3, 4)
    for config in (None, TINY | KINDS["rational_x1.5"]):
        loaded = load_latent_upscaler(save(tmp_path / "tiny.safetensors", network, config))
        assert torch.equal(loaded(x), network(x))


def test_file_that_is_not_what_its_metadata_says(tmp_path: Path) -> None:
    checkpoint = save(tmp_path / "tiny.safetensors", tiny("spatial"), TINY | KINDS["temporal"])
    with pytest.raises(CheckpointError, match="does not hold the latent upscaler that its configuration describes"):
        load_latent_upscaler(checkpoint)


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"_class_name": "Other"}, "_class_name must be LatentUpsampler, found 'Other'"),
        ({"dims": 1}, "dims must be 2 or 3, found 1"),
        ({"dims": 2, "temporal_upsample": True}, "dims must be 3 where frames are doubled, found 2"),
        ({"mid_channels": 48}, "mid_channels must be a multiple of 32, found 48"),
        ({"in_channels": 0}, "in_channels must be a positive number, found 0"),
        ({"num_blocks_per_stage": -1}, "num_blocks_per_stage must be a positive number, found -1"),
        ({"spatial_upsample": False}, "one of spatial_upsample and temporal_upsample must be true"),
        ({"rational_resampler": True, "spatial_scale": 3.0}, "spatial_scale must be 0.75 or 1.5 or 2.0 or 4.0, found"),
        ({"spatial_scale": 1.5}, "spatial_scale must be 2.0 without rational_resampler, found 1.5"),
        ({"temporal_upsample": True, "spatial_scale": 4.0}, "spatial_scale must be 2.0 .*found 4.0"),
    ],
)
def test_unknown_configuration_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        latent_upscaler_config(header(NAMES, TINY | changes))


def test_ratio_must_suit_the_resampler() -> None:
    fields = {"in_channels": 4, "mid_channels": 32, "num_blocks_per_stage": 1, "dims": 3}
    with pytest.raises(ValueError, match=r"ratio must be \(1, 1\) for temporal, found \(2, 1\)"):
        LatentUpscalerConfig(**fields, resampler="temporal", ratio=(2, 1))


@pytest.mark.parametrize(
    "extra", [{}, {"upsampler.conv.weight": (32 * 25, 32, 3, 3)}, {"upsampler.0.weight": (96, 32, 3, 3, 3)}]
)
def test_unknown_resampler_without_metadata(extra: Shapes) -> None:
    with pytest.raises(CheckpointError, match="expected a known shape of upsampler.conv.weight or upsampler.0.weight"):
        latent_upscaler_config(header(NAMES | extra, None))


def test_file_without_upscaler() -> None:
    with pytest.raises(CheckpointError, match="expected a latent upscaler"):
        latent_upscaler_config(header({"initial_conv.weight": (1,)}, DEFAULTS))


@pytest.mark.parametrize("shape", [(4, 2, 3, 3), (1, 5, 2, 3, 3), (1, 4, 0, 3, 3)])
def test_wrong_latents(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"latent upscaler: expected a tensor \(batch, 4, frames, height, width\)"):
        tiny("spatial")(torch.zeros(shape))
    with pytest.raises(ValueError, match=r"latent upscaler: expected a tensor \(batch, 4, frames, height, width\)"):
        upscale_latent(tiny("spatial"), statistics(4), torch.zeros(shape))


def test_statistics_of_another_latent_space() -> None:
    with pytest.raises(ValueError, match="expected statistics of 4 channels, found 1; use the video VAE"):
        upscale_latent(tiny("spatial"), statistics(1), torch.zeros(1, 4, 1, 2, 2))


def statistics(channels: int) -> PerChannelStatistics:
    network = PerChannelStatistics(channels)
    network.load_state_dict({MEAN: torch.linspace(-1, 1, channels), STD: torch.linspace(0.5, 2, channels)})
    return network


# --- the network -----------------------------------------------------------------------------------------------------


@settings(max_examples=12, deadline=None)
@given(st.sampled_from(sorted(KINDS)), st.integers(1, 3), st.integers(1, 4), st.integers(1, 5))
def test_size_of_the_result_is_the_announced_one(kind: str, frames: int, height: int, width: int) -> None:
    with torch.inference_mode():
        network = tiny(kind, mid_channels=64)  # torch refuses to norm a single value
        size = network(torch.zeros(1, 4, frames, height, width)).shape[2:]
    assert tuple(size) == network.config.output_size(frames, height, width)


def test_upscale_latent_works_in_units_of_the_vae() -> None:
    network, units, x = tiny("spatial"), statistics(4), torch.randn(1, 4, 2, 2, 3)
    want = units.normalize(network(units.un_normalize(x)))
    assert torch.equal(upscale_latent(network, units, x), want)


@pytest.mark.parametrize("limit", [1, 3 * 32 * 20, 5 * 32 * 20])
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_pieces_change_nothing(kind: str, limit: int) -> None:
    """One frame at a time, several, and a rest; a batch is a row of clips."""
    network, x = tiny(kind), torch.randn(2, 4, 7, 4, 5)
    original, want = x.clone(), network(x)
    torch.testing.assert_close(network(x, limit), want, rtol=1e-4, atol=1e-5)
    assert torch.equal(x, original)
    torch.testing.assert_close(network(x[1:]), want[1:])


@pytest.mark.parametrize("limit", [1, 2 * 32 * 12, 100 * 32 * 12])
def test_convolution_over_its_own_input(limit: int) -> None:
    conv, x = nn.Conv3d(32, 32, 3, padding=1), torch.randn(1, 32, 5, 3, 4)
    want = conv(x)
    torch.testing.assert_close(convolve(conv, x, limit), want)
    torch.testing.assert_close(convolve(conv, x, limit, overwrite=True), want)


def test_norm_in_pieces_is_accurate_far_from_zero() -> None:
    norm, x = nn.GroupNorm(32, 64), torch.randn(2, 64, 5, 3, 4) + 1000 * torch.arange(5)[:, None, None]
    norm.weight.copy_(torch.randn(64))
    norm.bias.copy_(torch.randn(64))
    want = norm.double()(x.double()).float()
    torch.testing.assert_close(normalize(norm.float(), x, 0), want, rtol=1e-4, atol=1e-4)


def test_norm_in_pieces_rounds_once() -> None:
    norm, x = nn.GroupNorm(32, 64), torch.randn(1, 64, 3, 8, 8).bfloat16()
    want = norm(x.float()).bfloat16()
    assert torch.equal(normalize(norm, x, 0), want)


def test_kernel_of_a_whole_scale_is_not_used() -> None:
    network, x = tiny("rational_x2"), torch.randn(1, 4, 1, 2, 2)
    want = network(x)
    network.get_buffer("upsampler.blur_down.kernel").fill_(torch.nan)
    assert torch.equal(network(x), want)


def test_frames_of_a_two_dimensional_network_are_independent() -> None:
    network, x = tiny("spatial", dims=2), torch.randn(2, 4, 3, 2, 2)
    torch.testing.assert_close(network(x)[:, :, 1:2], network(x[:, :, 1:2]))


def test_gradients_pass_also_where_pieces_are_asked_for() -> None:
    network = tiny("spatiotemporal")
    with torch.inference_mode(False), torch.enable_grad():
        x = torch.randn(1, 4, 3, 2, 2, requires_grad=True)
        network = LatentUpscaler(network.config)
        network(x, 1).sum().backward()
        assert x.grad is not None
        assert x.grad.abs().sum() > 0
        assert all(weight.grad is not None for weight in network.parameters())


class HostLayers:
    """A host's layers: their weights may lie elsewhere, so only calls of the layer may count on them."""

    class Conv2d(nn.Conv2d):
        pass

    class Conv3d(nn.Conv3d):
        pass

    class GroupNorm(nn.GroupNorm):
        pass


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_all_layers_are_of_the_host(kind: str) -> None:
    config, operations = tiny_config(kind), cast(Any, HostLayers)
    network = build_on_meta(lambda: LatentUpscaler(config, operations=operations))
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Conv3d | nn.GroupNorm)]
    assert len(layers) == 4 + 2 * 4
    assert all(type(layer) in vars(HostLayers).values() for layer in layers)


# --- memory ----------------------------------------------------------------------------------------------------------


class PeakElements(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The most elements that tensors made under it held at any time, as seen between two operations."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = 0
        self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        inputs = {storage_id(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor) and storage_id(leaf) not in inputs | self.known:
                self._watch(leaf)
        self.peak = max(self.peak, self.live)
        return out

    def _watch(self, tensor: Tensor) -> None:
        key, size = storage_id(tensor), tensor.untyped_storage().nbytes() // tensor.element_size()
        self.known.add(key)
        self.live += size
        weakref.finalize(tensor.untyped_storage(), self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.live -= size


def storage_id(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def peak_in_maps(limit: int) -> float:
    block, x = ResBlock(32, 3), torch.randn(1, 32, 24, 8, 8)
    with PeakElements() as memory:
        block(x, limit)
    return float(memory.peak / x.numel())


def test_a_block_in_pieces_makes_one_map_and_some_frames() -> None:
    frame = 32 * 8 * 8
    assert peak_in_maps(10**9) == 2  # beside the input of the block
    assert peak_in_maps(frame) <= 1 + 6 / 24  # two results of one frame, each with a neighbour on both sides
