"""The benchmarks measure what they say: bytes, operations, refusals, names, and one toy run through the processes."""

from __future__ import annotations

import json
from math import prod
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from openltx.benchmarks import configs, gpu_products, load
from openltx.benchmarks.cases import TEXT_TOKENS, Case, read_case, tiny_cases, write_case
from openltx.benchmarks.gpu_block import TOY_GRIDS, block_operations, measurements
from openltx.benchmarks.layouts import DIFFUSERS_TRANSFORMER, diffusers_video_vae, renamed
from openltx.benchmarks.measure import peak_bytes, relative_rms
from openltx.benchmarks.networks import Bench, Row, as_json, as_text, judge
from openltx.benchmarks.peers import Unsupported, loaded, ours
from openltx.benchmarks.processes import OURS
from openltx.model_loaders.checkpoint import open_checkpoint
from openltx.model_loaders.operations import StoredLinear


def test_peak_counts_what_lives_at_a_time_and_not_the_inputs() -> None:
    x = torch.randn(1000, 1000)

    def run() -> list[torch.Tensor]:
        first = x + 1
        second = first * 2
        del first
        return [second @ second]

    with torch.inference_mode():
        peak, outputs = peak_bytes(run, "cpu")
    assert peak == pytest.approx(2 * x.nbytes, rel=0.01)
    assert outputs[0].shape == x.shape


def test_block_operations_agree_with_a_count(tmp_path: Path) -> None:
    """Two blocks less one block: what stands outside the blocks cancels."""
    grid, counts = (2, 2, 4), []
    for layers in (1, 2):
        config = configs.transformer("2.3", layers=layers, share=16)
        case = Case(name="x", component="transformer", generation="2.3", config=config, size=grid)
        write_case(case, ours.shapes(case), tmp_path / "case.safetensors")
        run = ours.build(read_case(tmp_path / "case.safetensors", torch.float32, "cpu"))
        counter = FlopCounterMode(display=False)
        with torch.no_grad(), torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH), counter:
            run()
        counts.append(counter.get_total_flops())
    inputs = read_case(tmp_path / "case.safetensors", torch.float32, "cpu").inputs
    video, audio = inputs["video_latent"].shape[1], inputs["audio_latent"].shape[1]
    expected = block_operations(video, audio, TEXT_TOKENS, 256, 128)
    assert counts[1] - counts[0] == pytest.approx(expected, rel=0.01)  # head gates come on top


def test_loading_is_measured_on_a_file_of_full_structure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The smallest: 48 layers of one head. What is read is all of it, whoever reads."""
    shapes, config = load.full_structure(0.0)
    assert len(shapes) == 4186
    path = tmp_path / "ltx.safetensors"
    load.write_file(path, shapes, config)
    touched: list[int] = []
    monkeypatch.setattr(load, "touch", lambda tensors: touched.append(sum(tensor.nbytes for tensor in tensors)))
    for reader in ("openltx", "load_file"):
        assert load.measure(reader, path)["seconds"] > 0  # type: ignore[operator]
    assert touched == [2 * sum(prod(shape) for shape in shapes.values())] * 2
    rows = [
        load.Reading(reader=name, cache="cold", seconds=2.0, processor=1.0, rate=rate, extra=30)
        for name, rate in SPEEDS
    ]
    assert (
        "openltx       2.00 s    1.00 GB/s  0.50 of raw   processor  1.00 s   extra memory 0.0 MB (3.00 x largest)"
        in (load.as_text(rows, 2 * 10**9, 10))
    )


def test_diffusers_gets_the_same_weights_or_is_left_out_loudly(tmp_path: Path) -> None:
    shapes, config = load.full_structure(0.0)
    load.write_file(tmp_path / "ltx.safetensors", shapes, config)
    load.write_diffusers(tmp_path / "diffusers", shapes, config)
    written = open_checkpoint(tmp_path / "diffusers" / "diffusion_pytorch_model.safetensors")
    assert sorted(written.shapes.values()) == sorted(shapes.values())
    assert "transformer_blocks.47.audio_attn1.norm_k.weight" in written.shapes
    reason = load.missing_diffusers(str(tmp_path / "no-python"))
    assert reason is not None
    assert "No such file" in reason
    told = load.as_text(
        [load.Reading(reader="raw", cache="cold", seconds=1.0, processor=1.0, rate=1e9, extra=0)], 1, 1, reason
    )
    assert f"NOT MEASURED: diffusers ({reason})" in told


SPEEDS = [("raw", 2e9), ("openltx", 1e9)]


def test_held_memory_is_seen() -> None:
    watch = load.Watch()
    held = torch.ones(24_000_000)  # beyond what the allocator would take from memory that it had given back to itself
    found = watch.stop()
    assert found is None or found == pytest.approx(held.nbytes, rel=0.2)


def test_who_computes_something_else_gets_no_figures() -> None:
    rows = {OURS: Row(line=OURS, error=0.0), "a": Row(line="a", error=1e-6), "b": Row(line="b", error=0.1)}
    rows["c"] = Row(line="c", error=float("nan"))
    judge(rows, "float32")
    assert [name for name, row in rows.items() if row.failure] == ["b", "c"]
    assert "relative rms 0.1" in str(rows["b"].failure)


def test_relative_rms_of_other_shapes_is_infinite() -> None:
    assert relative_rms([torch.ones(2)], [torch.ones(3)]) == float("inf")
    assert relative_rms([torch.full((2,), 1.1)], [torch.ones(2)]) == pytest.approx(0.1)


def test_names_of_diffusers_stay_distinct() -> None:
    for case in tiny_cases():
        state = {name: torch.empty(0) for name in ours.shapes(case)}
        if case.component == "transformer":
            assert len(renamed(state, DIFFUSERS_TRANSFORMER)) == len(state)
        if case.component.startswith("video"):
            assert len(diffusers_video_vae(state)) == len(state) - 2  # without the statistics


def test_names_of_diffusers_transformer() -> None:
    names = {
        "audio_patchify_proj.bias": "audio_proj_in.bias",
        "adaln_single.linear.bias": "time_embed.linear.bias",
        "audio_prompt_adaln_single.linear.bias": "audio_prompt_adaln.linear.bias",
        "av_ca_v2a_gate_adaln_single.linear.bias": "av_cross_attn_audio_v2a_gate.linear.bias",
        "transformer_blocks.3.attn1.q_norm.weight": "transformer_blocks.3.attn1.norm_q.weight",
        "transformer_blocks.3.scale_shift_table_a2v_ca_audio": (
            "transformer_blocks.3.audio_a2v_cross_attn_scale_shift_table"
        ),
    }
    found = renamed(dict.fromkeys(names, torch.empty(0)), DIFFUSERS_TRANSFORMER)
    assert list(found) == list(names.values())


def test_a_peer_with_other_tensors_is_unsupported() -> None:
    with pytest.raises(Unsupported, match="lacks \\['bias'\\]"):
        loaded(lambda: torch.nn.Linear(2, 2), {"weight": torch.zeros(2, 2)})


def test_one_case_through_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    monkeypatch.setattr("openltx.benchmarks.networks.importlib.util.find_spec", lambda name: None)
    bench = Bench(tmp_path, "cpu", threads=1, seconds=0.0)
    try:
        (result,) = bench.run(tiny_cases()[0], ["bfloat16"])
    finally:
        bench.close()
    row = result.rows[OURS]
    assert row.failure is None
    assert 0 < row.error < 0.03
    assert len(row.seconds) == 2
    assert json.loads(as_json(result))["libraries"][OURS]["peak_bytes"] == row.peak > 0
    assert "no peer to compare with" in as_text(result, bench.lines)


def test_block_script_at_toy_sizes() -> None:
    rows = list(measurements(TOY_GRIDS, "cpu", 32, ("eager",)))
    assert [row.tokens for row in rows] == [16, 32]
    assert all(row.milliseconds > 0 and row.share > 0 for row in rows)


@pytest.mark.parametrize("name", list(gpu_products.FORMATS))
def test_stored_layers_are_timed_and_judged(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, size = torch.device("cpu"), (64, 256)
    row = gpu_products.measure(name, size, 8, cpu, 1)
    assert row.right
    assert min(row.milliseconds, row.dequantised, row.plain) > 0
    forward = StoredLinear.forward
    monkeypatch.setattr(StoredLinear, "forward", lambda module, x: forward(module, x) * 1.1)
    assert "WRONG" in str(gpu_products.measure(name, size, 8, cpu, 1))
