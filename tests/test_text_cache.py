"""Contexts that a text encoder remembers."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from openltx.model_loaders.checkpoint import open_checkpoint
from openltx.model_loaders.text_conditioning import ConditioningCache, TextConditioning
from openltx.model_loaders.text_encoder import TextEncoder, load_text_encoder

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = next(
    (p for p in (ROOT / "tests/golden/text", ROOT.parent / "shared/golden/text") if (p / "gemma3_tiny").is_dir()), None
)
needs_golden = pytest.mark.skipif(GOLDEN is None, reason="NOT TESTED: encoder files; no golden/text folder found")
CPU = torch.device("cpu")


def contexts(value: float) -> TextConditioning:
    return TextConditioning(video_context=torch.full((1, 2, 3), value), audio_context=torch.zeros(1, 2, 3))


def test_the_least_recently_used_entry_makes_room() -> None:
    cache = ConditioningCache(2)
    cache.put("a", contexts(1))
    cache.put("b", contexts(2))
    assert cache.get("a", CPU) is not None
    cache.put("c", contexts(3))
    assert len(cache) == 2
    assert cache.get("b", CPU) is None
    assert cache.get("a", CPU) is not None
    cache.clear()
    assert len(cache) == 0


def test_what_a_caller_changes_is_not_remembered() -> None:
    cache, value = ConditioningCache(), contexts(1)
    cache.put("a", value)
    value.video_context.zero_()
    for _ in range(2):
        found = cache.get("a", CPU)
        assert found is not None
        assert (found.video_context == 1).all()
        found.video_context.zero_()


def test_a_cache_may_be_switched_off() -> None:
    cache = ConditioningCache(0)
    cache.put("a", contexts(1))
    assert cache.get("a", CPU) is None


def load(checkpoint: Path, cache: ConditioningCache) -> TextEncoder:
    assert GOLDEN is not None
    return load_text_encoder(GOLDEN / "gemma3_tiny", open_checkpoint(checkpoint), cache=cache)


@needs_golden
def test_a_prompt_is_computed_once_for_each_file_and_precision(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert GOLDEN is not None
    one, other = GOLDEN / "chain_2.3.safetensors", tmp_path / "other.safetensors"
    shutil.copyfile(one, other)
    computed: list[list[int]] = []
    original = TextEncoder.encode_ids

    def counted(self: TextEncoder, ids: list[int]) -> TextConditioning:
        computed.append(ids)
        return original(self, ids)

    monkeypatch.setattr(TextEncoder, "encode_ids", counted)
    cache = ConditioningCache()
    first = load(one, cache).encode("a red lamp")
    again = load(one, cache).encode("  a red lamp\n")
    assert len(computed) == 1
    assert torch.equal(first.video_context, again.video_context)
    assert torch.equal(first.audio_context, again.audio_context)
    load(other, cache).encode("a red lamp")
    assert len(computed) == 2
    assert load(one, cache).to(dtype=torch.bfloat16).encode("a red lamp").video_context.dtype is torch.bfloat16
    assert len(computed) == 3
    load(one, cache).encode("a blue lamp")
    assert len(computed) == 4


def test_bytes_are_bounded_too() -> None:
    one = contexts(1)
    size = one.video_context.nbytes + one.audio_context.nbytes
    cache = ConditioningCache(10, limit=2 * size)
    for name in "abc":
        cache.put(name, contexts(1))
    assert len(cache) == 2
    assert cache.get("a", CPU) is None


def test_a_folder_keeps_contexts_for_the_next_process(tmp_path: Path) -> None:
    ConditioningCache(folder=tmp_path).put(("file", (1, 2)), contexts(3))
    later = ConditioningCache(folder=tmp_path)
    found = later.get(("file", (1, 2)), CPU)
    assert found is not None
    assert (found.video_context == 3).all()
    assert found.mask is None
    assert later.get(("file", (1, 3)), CPU) is None
    (path,) = tmp_path.iterdir()
    path.write_bytes(b"broken")
    assert ConditioningCache(folder=tmp_path).get(("file", (1, 2)), CPU) is None


@needs_golden
def test_a_remembered_prompt_needs_no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    assert GOLDEN is not None
    encoder = load(GOLDEN / "chain_2.3.safetensors", ConditioningCache())
    assert encoder.remembered("a red lamp", CPU) is None
    expected = encoder.encode("a red lamp")
    monkeypatch.setattr(TextEncoder, "encode_ids", None)
    found = encoder.remembered(" a red lamp ", CPU)
    assert found is not None
    assert torch.equal(found.video_context, expected.video_context)
