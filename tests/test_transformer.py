"""The transformer: what must not change its result, refusals, and loading from files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from openltx.model_loaders.checkpoint import Checkpoint, CheckpointError, open_checkpoint
from openltx.model_loaders.transformer import (
    generation_of_transformer,
    load_transformer,
)
from openltx.networks.attention import attention_backend
from openltx.networks.transformer import (
    Perturbation,
    PerturbationType,
    Stream,
    StreamConfig,
    Transformer,
    TransformerConfig,
)
from openltx.samplers.shapes import VideoGrid
from openltx.samplers.tokens import audio_positions, first_frame_marks, video_positions

GENERATIONS = pytest.mark.parametrize("generation", ["2", "2.3", "2.5"])
PREFIX = "model.diffusion_model."
GRID = VideoGrid(3, 2, 2)
AUDIO_TOKENS = 5


def tiny_config(generation: str, **changes: Any) -> TransformerConfig:
    later = generation != "2"
    config = TransformerConfig(
        num_layers=2,
        num_heads=4,
        video=StreamConfig(
            width=32,
            in_channels=8,
            out_channels=8,
            max_pos=(20, 2048, 2048),
            feed_forward_bias=generation != "2.5",
        ),
        audio=StreamConfig(width=16, in_channels=12, out_channels=12, max_pos=(20,)),
        caption_channels=None if later else 20,
        text_modulation=later,
        prompt_embedder=later,
        gated_attention=later,
        keyframe_marker=generation == "2.5",
    )
    return replace(config, **changes)


def tiny(generation: str, **changes: Any) -> Transformer:
    """A network with random weights of such a size that activations stay near 1."""
    generator = torch.Generator().manual_seed(1)
    network = Transformer(tiny_config(generation, **changes))
    for name, parameter in network.named_parameters():
        spread = parameter.shape[-1] ** -0.5 if parameter.ndim == 2 and "table" not in name else 0.3
        offset = 1.0 if "_norm" in name else 0.0
        parameter.data = torch.randn(parameter.shape, generator=generator) * spread + offset
    return network.eval().requires_grad_(False)


def streams(network: Transformer, *, batch: int = 2, seed: int = 2) -> tuple[Stream, Stream]:
    generator = torch.Generator().manual_seed(seed)
    config = network.config
    assert config.video is not None
    assert config.audio is not None
    sigma = torch.rand(batch, generator=generator)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    def timesteps(tokens: int) -> Tensor:
        kept = torch.rand(batch, tokens, 1, generator=generator) < 0.3
        return sigma[:, None, None] * ~kept

    video = Stream(
        latent=normal(batch, GRID.tokens, 8),
        sigma=sigma,
        timesteps=timesteps(GRID.tokens),
        positions=video_positions(GRID, 24, batch=batch),
        context=normal(batch, 6, config.caption_channels or 32),
        keyframes_mask=first_frame_marks(GRID, batch=batch),
    )
    audio = Stream(
        latent=normal(batch, AUDIO_TOKENS, 12),
        sigma=sigma,
        timesteps=timesteps(AUDIO_TOKENS),
        positions=audio_positions(AUDIO_TOKENS, batch=batch),
        context=normal(batch, 7, config.caption_channels or 16),
    )
    return video, audio


Result = tuple["Tensor | None", "Tensor | None"]


def same(got: Result, expected: Result, *, tolerance: float = 1e-5) -> None:
    for left, right in zip(got, expected, strict=True):
        assert (left is None) == (right is None)
        if left is not None and right is not None:
            torch.testing.assert_close(left, right, rtol=tolerance, atol=tolerance)


def differs(left: Tensor | None, right: Tensor | None) -> bool:
    assert left is not None
    assert right is not None
    return not torch.allclose(left, right, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("chunk", [1, 5, 12, 100])
@torch.no_grad()
def test_feed_forward_in_chunks_is_the_same(chunk: int) -> None:
    network = tiny("2.3")
    video, audio = streams(network)
    same(network(video, audio, feed_forward_chunk=chunk), network(video, audio))


@GENERATIONS
def test_in_place_and_differentiable_forwards_agree(generation: str) -> None:
    network = tiny(generation)
    video, audio = streams(network)
    before = video.latent.clone()
    with torch.no_grad():
        expected = network(video, audio, feed_forward_chunk=5)
    assert torch.equal(video.latent, before)
    latent = video.latent.clone().requires_grad_(True)
    got = network(replace(video, latent=latent), audio, feed_forward_chunk=5)
    same((got[0].detach(), got[1].detach()), expected)
    got[0].sum().backward()
    assert latent.grad is not None
    assert latent.grad.abs().sum() > 0


@torch.no_grad()
def test_one_timestep_a_sample_is_one_timestep_a_token() -> None:
    network = tiny("2.5")
    video, audio = (replace(stream, timesteps=stream.sigma[:, None, None]) for stream in streams(network))
    spread = [
        replace(stream, timesteps=stream.timesteps.expand(-1, stream.latent.shape[1], 1)) for stream in (video, audio)
    ]
    same(network(*spread), network(video, audio))


@torch.no_grad()
def test_samples_of_a_batch_do_not_see_each_other() -> None:
    network = tiny("2.3")
    video, audio = streams(network, batch=3)
    whole = network(video, audio)

    def sample(stream: Stream) -> Stream:
        tensors: dict[str, Any] = {
            name: value[1:2] for name, value in vars(stream).items() if isinstance(value, Tensor)
        }
        return replace(stream, **tensors)

    same(network(sample(video), sample(audio)), tuple(part[1:2] for part in whole))


@GENERATIONS
@torch.no_grad()
def test_prepared_streams_serve_every_step(generation: str) -> None:
    network = tiny(generation)
    video, audio = streams(network)
    prepared = network.prepare(video, audio, cache_text=generation == "2")
    for seed in (3, 4):
        other_video, other_audio = streams(network, seed=seed)
        video = replace(video, latent=other_video.latent, sigma=other_video.sigma, timesteps=other_video.timesteps)
        audio = replace(audio, latent=other_audio.latent, sigma=other_audio.sigma, timesteps=other_audio.timesteps)
        same(network(video, audio, prepared=prepared), network(video, audio), tolerance=0)
    if generation == "2":
        assert prepared.video is not None
        assert sorted(prepared.video.text_cache or ()) == [0, 1]


@torch.no_grad()
def test_positions_of_one_sample_serve_the_batch_and_are_tabled_once() -> None:
    network = tiny("2.3")
    video, audio = streams(network, batch=3)
    single = [replace(stream, positions=stream.positions[:1]) for stream in (video, audio)]
    same(network(*single), network(video, audio), tolerance=0)
    prepared = network.prepare(video, audio)
    assert prepared.video is not None
    assert prepared.video.rope.cos.shape[0] == 1


@GENERATIONS
@torch.no_grad()
def test_a_network_without_audio_weights_is_the_full_one_without_audio(generation: str) -> None:
    network = tiny(generation)
    video, audio = streams(network)
    video_only = replace(network.config, audio=None)
    audio_only = replace(network.config, video=None, keyframe_marker=False)
    for config, given in ((video_only, (video, None)), (audio_only, (None, audio))):
        alone = Transformer(config)
        weights = network.state_dict()
        alone.load_state_dict({name: weights[name] for name in alone.state_dict()})
        same(alone(*given), network(*given), tolerance=0)


@torch.no_grad()
def test_audio_without_tokens_acts_like_absent_audio() -> None:
    network = tiny("2.3")
    video, audio = streams(network)
    empty = replace(
        audio, latent=audio.latent[:, :0], timesteps=audio.timesteps[:, :0], positions=audio.positions[:, :, :0]
    )
    got_video, got_audio = network(video, empty)
    same((got_video, None), network(video, None), tolerance=0)
    assert got_audio.shape == (2, 0, 12)


@torch.no_grad()
def test_keyframe_marks_count_only_where_the_table_exists() -> None:
    for generation, marked in (("2", False), ("2.3", False), ("2.5", True)):
        network = tiny(generation)
        video, audio = streams(network)
        plain = network(replace(video, keyframes_mask=None), audio)
        assert differs(network(video, audio)[0], plain[0]) == marked
    half = replace(video, keyframes_mask=first_frame_marks(GRID, batch=2) * 0.5)  # a switch, not a weight
    same(network(half, audio), network(video, audio), tolerance=0)


@torch.no_grad()
def test_masks_that_keep_everything_are_no_bias() -> None:
    network = tiny("2.3")
    video, audio = streams(network)
    full = replace(
        video,
        context_mask=torch.ones(2, 6, dtype=torch.int64),
        attention_mask=torch.ones(2, GRID.tokens, GRID.tokens),
    )
    prepared = network.prepare(full, audio)
    assert prepared.video is not None
    assert prepared.video.context_bias is None
    assert prepared.video.attention_bias is None


@torch.no_grad()
def test_a_float_bias_of_the_lowest_number_survives_bfloat16() -> None:
    network = tiny("2").to(torch.bfloat16)
    video, audio = (
        replace(stream, latent=stream.latent.bfloat16(), context=stream.context.bfloat16())
        for stream in streams(network)
    )
    bias = torch.full((2, 1, 1, 6), torch.finfo(torch.float32).min)
    got, _ = network(replace(video, context_mask=bias), audio)
    assert got.dtype == torch.bfloat16
    assert not got.isnan().any()


def _some_strengths(rows: slice) -> Tensor:
    return torch.rand(1, rows.stop - rows.start, 40 * 3 * 4)


class _Observed(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Elements of the largest tensor that any operation returns, and the dtypes that occur."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.elements = 0
        self.dtypes: set[torch.dtype] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(tensor, Tensor):
                self.elements = max(self.elements, tensor.numel())
                self.dtypes.add(tensor.dtype)
        return result


@GENERATIONS
@pytest.mark.parametrize("by_rows", [False, True])
@torch.no_grad()
def test_no_tensor_is_larger_than_the_tokens(generation: str, by_rows: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a (B, T, 9 D) modulation table nor an N x N mask nor a whole hidden feed-forward layer."""
    monkeypatch.setattr("openltx.networks.attention.BIAS_ELEMENTS", 4800)
    network = tiny(generation, num_layers=1)
    grid = VideoGrid(40, 3, 4)
    video, audio = streams(network, batch=1)
    timesteps = torch.full((1, grid.tokens, 1), 0.7)
    timesteps[:, :12] = 0
    video = replace(
        video,
        latent=torch.randn(1, grid.tokens, 8),
        timesteps=timesteps,
        positions=video_positions(grid, 24),
        keyframes_mask=first_frame_marks(grid),
        attention_mask=_some_strengths if by_rows else torch.rand(1, 1, grid.tokens),
    )
    with _Observed() as observed:
        network(video, audio, feed_forward_chunk=64)
    assert observed.elements == grid.tokens * 32


@torch.no_grad()
def test_a_later_run_has_no_float64_tensor() -> None:
    """Some devices have no float64; the rotary grid needs it once, on the CPU."""
    network = tiny("2.3")
    video, audio = streams(network)
    network(video, audio)
    with _Observed() as observed:
        network(video, audio)
    assert torch.float64 not in observed.dtypes


KINDS: list[PerturbationType] = [
    "skip_video_self_attn",
    "skip_audio_self_attn",
    "skip_a2v_cross_attn",
    "skip_v2a_cross_attn",
]


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_what_all_samples_skip_is_not_computed_and_what_some_skip_is_blended(kind: PerturbationType) -> None:
    network = tiny("2.3")
    video, audio = streams(network)
    calls: list[int] = []

    def count(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float | None) -> Tensor:
        calls.append(1)
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale)

    def run(perturbations: list[list[Perturbation]] | None) -> tuple[Any, int]:
        calls.clear()
        with attention_backend(count):
            return network(video, audio, perturbations=perturbations), len(calls)

    everywhere = Perturbation(type=kind)
    plain, all_calls = run(None)
    skipped, fewer = run([[everywhere], [everywhere]])
    mixed, _ = run([[], [everywhere]])
    _, once = run([[Perturbation(type=kind, blocks=frozenset([1]))]] * 2)
    assert all_calls == 12
    assert fewer == 10
    assert once == 11
    same(tuple(part[:1] for part in mixed), tuple(part[:1] for part in plain))
    same(tuple(part[1:] for part in mixed), tuple(part[1:] for part in skipped))
    assert differs(plain[0], skipped[0]) or differs(plain[1], skipped[1])


@torch.no_grad()
def test_a_disabled_stream_is_read_but_not_updated() -> None:
    network = tiny("2.3")
    video, audio = streams(network)
    calls: list[int] = []

    def count(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float | None) -> Tensor:
        calls.append(q.shape[2])
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale)

    with attention_backend(count):
        _, heard = network(replace(video, enabled=False), audio)
    assert calls == [AUDIO_TOKENS] * 6
    assert differs(heard, network(None, audio)[1])


# --- refusals of a call ---


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"latent": torch.zeros(2, 12, 9)}, r"video.latent: .*\(B, T, 8\), found \(2, 12, 9\)"),
        ({"latent": torch.zeros(2, 12, 8, dtype=torch.int64)}, "video.latent: expected floating-point"),
        ({"sigma": torch.zeros(3)}, r"video.sigma: expected shape \(2,\), found \(3,\)"),
        ({"sigma": torch.zeros(2).double()}, "video.sigma: expected dtype torch.float32, found torch.float64"),
        ({"timesteps": torch.zeros(2, 12)}, "video.timesteps"),
        ({"timesteps": torch.zeros(2, 12, 1).bfloat16()}, "video.timesteps: expected dtype torch.float32"),
        ({"positions": torch.zeros(2, 1, 12, 2)}, "video.positions"),
        ({"positions": torch.zeros(2, 3, 12, 2).bfloat16()}, "video.positions: expected dtype torch.float32"),
        ({"context": torch.zeros(2, 6, 20)}, r"video.context: expected \(2, S, 32\).*generation"),
        ({"context": torch.zeros(2, 6, 32).bfloat16()}, "video.context: expected dtype torch.float32"),
        ({"context_mask": torch.ones(2, 5, dtype=torch.int64)}, "video.context_mask"),
        ({"context_mask": torch.ones(2, 1, 3, 6)}, "video.context_mask: expected an additive bias"),
        ({"attention_mask": torch.ones(2, 12)}, "video.attention_mask"),
        ({"attention_mask": lambda rows: torch.ones(2, 1, 11)}, "video.attention_mask of query 0"),
        ({"keyframes_mask": torch.ones(2, 12)}, "video.keyframes_mask"),
    ],
)
def test_a_wrong_argument_is_named(changes: dict[str, Any], message: str) -> None:
    network = tiny("2.3")
    video, audio = streams(network)
    with pytest.raises(ValueError, match=message):
        network(replace(video, **changes), audio)


def test_streams_must_exist_and_fit_together() -> None:
    network = tiny("2.3")
    video, audio = streams(network)
    with pytest.raises(ValueError, match="at least one stream, found none"):
        network()
    with pytest.raises(ValueError, match="audio.keyframes_mask"):
        network(video, replace(audio, keyframes_mask=torch.ones(2, AUDIO_TOKENS, 1)))
    _, larger = streams(network, batch=3)
    with pytest.raises(ValueError, match="audio.latent: expected batch size 2, found 3"):
        network(video, larger)
    alone = Transformer(replace(network.config, audio=None))
    with pytest.raises(ValueError, match="audio: this transformer has no audio weights"):
        alone(video, audio)


def test_options_of_a_call_are_checked() -> None:
    network = tiny("2.3")
    video, audio = streams(network)
    with pytest.raises(ValueError, match="one list for each of 2 samples, found 1"):
        network(video, audio, perturbations=[[]])
    beyond = Perturbation(type="skip_a2v_cross_attn", blocks=frozenset([2]))
    with pytest.raises(ValueError, match=r"blocks from 0 to 1, found \[2\]"):
        network(video, audio, perturbations=[[beyond], []])
    with pytest.raises(ValueError, match="perturbation type: expected one of"):
        Perturbation(type="skip_everything")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"feed_forward_chunk: expected 0 \(all tokens\) or more, found -1"):
        network(video, audio, feed_forward_chunk=-1)
    with pytest.raises(ValueError, match="only generation 2"):
        network.prepare(video, audio, cache_text=True)


def test_prepared_streams_of_another_call_are_refused() -> None:
    network = tiny("2.3")
    video, audio = streams(network)
    with pytest.raises(ValueError, match="prepared: made without the streams of this call"):
        network(video, audio, prepared=network.prepare(video))
    with pytest.raises(ValueError, match="video.latent: .* of `prepared`"):
        network(video, audio, prepared=network.prepare(*streams(network, batch=1)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_layers": 0}, "at least 1 layer"),
        ({"num_heads": 3}, "multiples of 6"),
        ({"video": None, "audio": None}, "found none"),
        ({"text_modulation": False}, "prompt_embedder needs text_modulation"),
        ({"audio": StreamConfig(width=16, in_channels=1, out_channels=1, max_pos=(1, 2))}, "audio: expected 1 maximum"),
    ],
)
def test_configurations_that_cannot_be_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny_config("2.3", **changes)


# --- files ---


def write(path: Path, network: Transformer, *, prefix: str = PREFIX, drop: str = "", **fields: Any) -> Checkpoint:
    tensors = {prefix + name: value for name, value in network.state_dict().items() if name != drop}
    config = {
        "num_layers": network.config.num_layers,
        "num_attention_heads": 4,
        "attention_head_dim": 8,
        "audio_num_attention_heads": 4,
        "audio_attention_head_dim": 4,
        **fields,
    }
    save_file(tensors, path, metadata={"config": json.dumps({"transformer": config})})
    return open_checkpoint(path)


@pytest.mark.parametrize("prefix", ["model.diffusion_model.", "diffusion_model.", ""])
@GENERATIONS
@torch.no_grad()
def test_a_saved_network_comes_back(tmp_path: Path, generation: str, prefix: str) -> None:
    network = tiny(generation)
    checkpoint = write(tmp_path / "tiny.safetensors", network, prefix=prefix)
    loaded = load_transformer(checkpoint)
    assert loaded.config == network.config
    assert generation_of_transformer(checkpoint) == generation
    assert loaded.dtype == torch.float32
    assert not loaded.training
    same(loaded(*streams(network)), network(*streams(network)), tolerance=0)


def test_a_keyframe_table_without_its_first_axis_is_accepted(tmp_path: Path) -> None:
    network = tiny("2.5")
    state = network.state_dict()
    state["keyframes_abs_pos_embedding"] = state["keyframes_abs_pos_embedding"][0].clone()
    config = {"num_attention_heads": 4, "use_keyframes_abs_pos_embedding": True}
    save_file(state, tmp_path / "flat.safetensors", metadata={"config": json.dumps({"transformer": config})})
    loaded = load_transformer(open_checkpoint(tmp_path / "flat.safetensors"))
    assert torch.equal(loaded.keyframes_abs_pos_embedding, network.keyframes_abs_pos_embedding)


def test_a_promised_but_absent_keyframe_table_counts_as_zero(tmp_path: Path) -> None:
    checkpoint = write(
        tmp_path / "without.safetensors",
        tiny("2.5"),
        drop="keyframes_abs_pos_embedding",
        use_keyframes_abs_pos_embedding=True,
    )
    assert not load_transformer(checkpoint).config.keyframe_marker
    assert generation_of_transformer(checkpoint) == "2.5"


def test_stale_flags_in_the_metadata_give_way_to_the_tensors(tmp_path: Path) -> None:
    network = tiny("2.3")
    stale: dict[str, Any] = {"apply_gated_attention": False, "cross_attention_adaln": False, "ff_bias": False}
    assert load_transformer(write(tmp_path / "stale.safetensors", network, **stale)).config == network.config


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rope_type", "spiral"),
        ("frequencies_precision", "float16"),
        ("use_middle_indices_grid", False),
        ("qk_norm", "layer_norm"),
        ("activation_fn", "geglu"),
        ("num_vector_embeds", 4),
        ("dropout", 0.1),
        ("norm_eps", "small"),
        ("num_layers", 2.5),
        ("audio_num_attention_heads", 8),
        ("cross_attention_dim", 64),
        ("audio_positional_embedding_max_pos", 20),
        ("positional_embedding_max_pos", [20, 2048]),
    ],
)
def test_unsupported_values_are_refused_by_name(tmp_path: Path, field: str, value: object) -> None:
    changed: dict[str, Any] = {field: value}
    checkpoint = write(tmp_path / "odd.safetensors", tiny("2.3"), **changed)
    named = "maximum positions" if field == "positional_embedding_max_pos" else field
    with pytest.raises(CheckpointError, match=named):
        load_transformer(checkpoint)


def test_missing_tensors_are_reported(tmp_path: Path) -> None:
    lost = "transformer_blocks.1.audio_attn2.to_k.weight"
    with pytest.raises(CheckpointError, match=lost):
        load_transformer(write(tmp_path / "lost.safetensors", tiny("2.3"), drop=lost))
    with pytest.raises(CheckpointError, match="missing"):
        load_transformer(write(tmp_path / "short.safetensors", tiny("2.3"), num_layers=3))


def test_quantised_weights_need_their_own_operations(tmp_path: Path) -> None:
    network = tiny("2.3")
    weight = network.get_parameter("transformer_blocks.0.attn1.to_q.weight")
    weight.data = weight.data.to(torch.float8_e4m3fn)
    file = write(tmp_path / "fp8.safetensors", network)
    of_a_host: Any = SimpleNamespace(Linear=nn.Linear)
    with pytest.raises(CheckpointError, match="found F8_E4M3; quantised weights need operations"):
        load_transformer(file, operations=of_a_host)


def test_files_without_a_transformer_are_refused(tmp_path: Path) -> None:
    save_file({"vae.decoder.weight": torch.zeros(1)}, tmp_path / "vae.safetensors")
    with pytest.raises(CheckpointError, match="expected a transformer"):
        load_transformer(open_checkpoint(tmp_path / "vae.safetensors"))
    older = Transformer(replace(tiny_config("2"), audio=None)).requires_grad_(False)
    checkpoint = write(tmp_path / "older.safetensors", older, _class_name="Transformer3DModel")
    with pytest.raises(CheckpointError, match="older video-only LTX-Video"):
        load_transformer(checkpoint)
