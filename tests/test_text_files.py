"""Text encoder files as users have them: layouts, what is missing or does not belong together, tokenizers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from openltx.model_loaders import encoder_files, tokenizer
from openltx.model_loaders.checkpoint import Checkpoint, CheckpointError, open_checkpoint
from openltx.model_loaders.encoder_files import find_encoder
from openltx.model_loaders.parts import open_text
from openltx.model_loaders.text_encoder import TextEncoder, load_text_encoder, refuse_other_encoder

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = next(
    (p for p in (ROOT / "tests/golden/text", ROOT.parent / "shared/golden/text") if (p / "gemma3_tiny").is_dir()), None
)
needs_golden = pytest.mark.skipif(GOLDEN is None, reason="NOT TESTED: encoder files; no golden/text folder found")


def header(**metadata: str) -> Checkpoint:
    return Checkpoint(path=Path("ltx.safetensors"), metadata=metadata, entries={})


def golden(name: str) -> Path:
    """A file of the project's own vectors or, where it is not among them, of the full set."""
    for folder in (ROOT / "tests/golden/text", ROOT.parent / "shared/golden/text"):
        if (folder / name).exists():
            return folder / name
    pytest.skip(f"NOT TESTED: encoder files; no golden vector {name} found")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A writable copy of the tiny Hugging Face folder."""
    target = tmp_path / "parent" / "gemma"
    target.mkdir(parents=True)
    for file in golden("gemma3_tiny").iterdir():
        shutil.copyfile(file, target / file.name)
    return target


def load(path: Path, checkpoint: str = "chain_2.3.safetensors") -> TextEncoder:
    return load_text_encoder(path, open_checkpoint(golden(checkpoint)))


@needs_golden
def test_parent_folder_and_single_shard_lead_to_the_encoder(folder: Path) -> None:
    expected = find_encoder(folder)
    assert find_encoder(folder.parent) == expected
    assert find_encoder(folder / "model-00002-of-00002.safetensors") == expected


@needs_golden
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere", "no such file or folder"),
        ("", "found no .safetensors file"),
        ("chain_2.3.safetensors", "found none among its tensors"),
        ("gemma4_packed.safetensors", "expects the text encoder gemma3, found gemma4_unified"),
    ],
)
def test_what_is_no_encoder_of_the_checkpoint_is_named(tmp_path: Path, name: str, words: str) -> None:
    path = golden(name) if name.endswith(".safetensors") else tmp_path / name
    with pytest.raises(CheckpointError) as caught:
        load(path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@needs_golden
def test_missing_tokenizer_is_named(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match="neither tokenizer.json nor tokenizer.model"):
        load(folder)


@needs_golden
@pytest.mark.parametrize("with_index", [True, False])
def test_missing_shard_is_named(folder: Path, with_index: bool) -> None:
    (folder / "model-00002-of-00002.safetensors").unlink()
    if not with_index:
        (folder / "model.safetensors.index.json").unlink()
    with pytest.raises(CheckpointError, match="expected 2 shards .* found 1; .*model-00002-of-00002"):
        load(folder)


@needs_golden
def test_several_encoders_below_one_folder_are_refused(folder: Path) -> None:
    shutil.copytree(folder, folder.parent / "other")
    with pytest.raises(CheckpointError, match="expected one text encoder, found 2"):
        find_encoder(folder.parent)


@needs_golden
def test_encoder_of_another_size_is_refused(folder: Path, tmp_path: Path) -> None:
    minimal = golden("gemma3_minimal_config.safetensors")
    shutil.copyfile(minimal, tmp_path / "narrow.safetensors")
    shutil.copyfile(folder / "tokenizer.json", tmp_path / "tokenizer.json")
    with pytest.raises(CheckpointError, match=r"expects 240 inputs, the encoder gives 7 hidden states of 32 \(224\)"):
        load(tmp_path / "narrow.safetensors")


@needs_golden
def test_encoder_without_configuration_must_be_the_12b(folder: Path) -> None:
    (folder / "config.json").unlink()
    with pytest.raises(CheckpointError, match="not that of Gemma 3 12B"):
        load(folder)


@needs_golden
def test_checkpoint_names_the_encoder_that_it_wants() -> None:
    gemma3, gemma4 = find_encoder(golden("gemma3_tiny")), find_encoder(golden("gemma4_packed.safetensors"))
    wants = header(gemma_source_checkpoint=json.dumps({"gemma_version": "gemma4-12b-ltx-v1"}))
    refuse_other_encoder(gemma4, wants)
    with pytest.raises(CheckpointError, match="expects the text encoder gemma4-12b-ltx-v1, found gemma3"):
        refuse_other_encoder(gemma3, wants)
    with pytest.raises(CheckpointError, match="gemma_source_checkpoint"):
        refuse_other_encoder(gemma4, header(model_version="2.4.0"))
    with pytest.warns(UserWarning, match="cannot tell"):
        refuse_other_encoder(gemma3, header(model_version="2.5"))


@needs_golden
def test_checkpoint_without_projection_or_connectors_is_refused() -> None:
    with pytest.raises(CheckpointError, match="expected a text projection"):
        load(golden("gemma3_tiny"), "connectors_2.3.safetensors")
    with pytest.raises(CheckpointError, match="expected a text connector"):
        load(golden("gemma3_tiny"), "features_2.3.safetensors")


@needs_golden
def test_projection_and_connectors_may_lie_in_files_of_their_own(tmp_path: Path) -> None:
    tensors = load_file(golden("chain_2.3.safetensors"))
    source = open_checkpoint(golden("chain_2.3.safetensors"))
    parts: dict[str, dict[str, Tensor]] = {"projection": {}, "connectors": {}}
    for name in source.entries:
        kind = "connectors" if "connector" in name else "projection"
        parts[kind][name.split("diffusion_model.")[-1]] = tensors[name]
    files = []
    for kind, part in parts.items():
        save_file(part, tmp_path / f"{kind}.safetensors")
        files.append(open_checkpoint(tmp_path / f"{kind}.safetensors"))
    apart = load_text_encoder(golden("gemma3_tiny"), files[0], extra_files=files[1:]).encode("a lamp")
    together = load(golden("gemma3_tiny")).encode("a lamp")
    assert torch.equal(apart.video_context, together.video_context)


@needs_golden
def test_encoder_and_checkpoint_may_differ_in_precision() -> None:
    encoder = load(golden("gemma3_tiny"))
    exact = encoder.encode("a lamp").video_context
    encoder.decoder.to(torch.bfloat16)
    rough = encoder.encode("a lamp").video_context
    assert rough.dtype is torch.float32
    torch.testing.assert_close(rough, exact, rtol=0.05, atol=0.1)


@needs_golden
def test_another_language_model_is_no_text_encoder(tmp_path: Path) -> None:
    save_file({"model.layers.0.self_attn.q_norm.weight": torch.zeros(8)}, tmp_path / "qwen_3.safetensors")
    with pytest.raises(CheckpointError, match="expected a Gemma text encoder"):
        find_encoder(tmp_path)


# the embedded layout: everything in one file


@pytest.fixture
def embedded(tmp_path: Path) -> Path:
    source = open_checkpoint(golden("chain_2.3.safetensors"))
    tensors = source.load(source.names())
    for shard in golden("gemma3_tiny").glob("*.safetensors"):
        for name, tensor in load_file(shard).items():
            if name.startswith("language_model."):
                tensors[f"text_encoder.{name.removeprefix('language_model.')}"] = tensor
    text = json.loads((golden("gemma3_tiny") / "tokenizer.json").read_text("utf-8"))
    text["truncation"] = {"direction": "Right", "max_length": 128, "strategy": "LongestFirst", "stride": 0}
    tensors["text_encoder.tokenizer_json"] = torch.tensor(list(json.dumps(text).encode()), dtype=torch.uint8)
    config = json.loads((golden("gemma3_tiny") / "config.json").read_text())["text_config"]
    path = tmp_path / "tiny.safetensors"
    save_file(tensors, path, metadata={"config": source.metadata["config"], "gemma_config": json.dumps(config)})
    return path


@needs_golden
def test_one_file_may_hold_everything(embedded: Path) -> None:
    encoder = load_text_encoder(None, open_checkpoint(embedded))
    assert encoder.length == 128
    encoder.tokenizer = load(golden("gemma3_tiny")).tokenizer
    assert encoder.length == 1024
    got, want = encoder.encode("a red lamp"), load(golden("gemma3_tiny")).encode("a red lamp")
    assert torch.equal(got.video_context, want.video_context)
    assert torch.equal(got.audio_context, want.audio_context)
    assert got.mask is None


@needs_golden
def test_embedded_tokenizer_sets_the_length(embedded: Path) -> None:
    encoder = load_text_encoder(embedded, open_checkpoint(embedded))
    with pytest.warns(UserWarning, match="are cut off"):
        assert encoder.encode("a lamp " * 100).video_context.shape == (1, 128, 64)


# tokenizer


@needs_golden
def test_long_prompts_are_cut_with_one_warning() -> None:
    encoder = load(golden("gemma3_tiny"))
    with pytest.warns(UserWarning, match="are cut off") as caught:
        assert len(encoder.tokenize("lamp " * 2000)) == 1024
    assert len(caught) == 1


@needs_golden
def test_tokenizer_settings_override_the_post_processor() -> None:
    text = (golden("gemma3_tiny") / "tokenizer.json").read_text("utf-8")
    plain = tokenizer.tokenizer_from_json(text)
    assert plain("<bos>x") == tokenizer.tokenizer_from_json(text, add_bos=True)("<bos>x")
    without = tokenizer.tokenizer_from_json(text, add_bos=False)
    assert without("<bos>x") == plain("<bos>x")[1:]
    assert without("x") == plain("x")


def test_unreadable_tokenizers_are_refused() -> None:
    with pytest.raises(CheckpointError, match=r"here: no readable tokenizer.json"):
        tokenizer.tokenizer_from_json("{}", origin="here")
    with pytest.raises(CheckpointError, match="expected a JSON object"):
        tokenizer.add_bos_setting("[]", origin="here")


@needs_golden
def test_sentencepiece_model_without_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tokenizer, "sentencepiece_installed", lambda: False)
    monkeypatch.setattr(encoder_files, "sentencepiece_installed", lambda: False)
    file = tmp_path / "gemma.safetensors"
    shutil.copyfile(golden("gemma3_single_file.safetensors"), file)
    with pytest.raises(CheckpointError, match="pip install sentencepiece"):
        find_encoder(file).tokenizer()
    shutil.copyfile(golden("gemma3_tiny") / "tokenizer.json", tmp_path / "tokenizer.json")
    assert find_encoder(file).tokenizer()("") == [2]


def test_a_repack_in_three_files_gives_the_contexts_of_the_whole_one(tmp_path: Path) -> None:
    whole = open_checkpoint(Path(__file__).resolve().parents[1] / "assets" / "openltx-tiny-2.3.safetensors")
    tensors = whole.load(whole.names())
    groups: dict[str, dict[str, torch.Tensor]] = {"connectors": {}, "projection": {}, "rest": {}}
    for name, tensor in tensors.items():
        marks = {"connectors": "embeddings_connector.", "projection": "aggregate_embed"}
        groups[next((kind for kind, mark in marks.items() if mark in name), "rest")][name] = tensor
    for kind, group in groups.items():
        assert group
        save_file(group, tmp_path / f"{kind}.safetensors", whole.metadata if kind == "rest" else None)
    rest, *extra = (tmp_path / f"{kind}.safetensors" for kind in ("rest", "connectors", "projection"))
    found, expected = (
        part.encoder.on(torch.device("cpu")).encode("a red ball")
        for part in (
            open_text(rest, rest, dtype=torch.float32, extra=extra),
            open_text(None, whole.path, dtype=torch.float32),
        )
    )
    assert torch.equal(found.video_context, expected.video_context)
    assert torch.equal(found.audio_context, expected.audio_context)
