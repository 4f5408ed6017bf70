"""Files that do not belong together: every wrong state of a text encoder and every mixture of generations, one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import permutations
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from openltx.model_loaders.checkpoint import open_checkpoint
from openltx.model_loaders.detection import detect_file
from openltx.model_loaders.lora.file import open_lora
from openltx.model_loaders.lora.model import with_lora
from openltx.model_loaders.lora.strengths import LoraStrengths
from openltx.model_loaders.parts import Part, open_model, open_text, open_upscaler, open_video, refuse_mixed

PREFIX = "model.diffusion_model."
BLOCK = f"{PREFIX}transformer_blocks.0."
GEMMA_4 = "gemma4-12b-ltx-v1"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 26260000000\n"

Tensors = dict[str, Tensor]


def transformer(generation: str) -> Tensors:
    """The tensors that a header is recognised by."""
    newer = generation != "2"
    names = [f"{PREFIX}{stream}{name}.weight" for stream in ("", "audio_") for name in ("patchify_proj", "proj_out")]
    names += [] if newer else [f"{PREFIX}caption_projection.linear_1.weight"]
    biases = [f"{BLOCK}ff.net.0.proj.bias"] if generation != "2.5" else []
    gates = [f"{BLOCK}{name}.to_gate_logits.weight" for name in ("attn1", "audio_attn1")] if newer else []
    return {
        **{name: torch.zeros(64, 64) for name in names},
        **{name: torch.zeros(64) for name in biases},
        **{name: torch.zeros(1, 64) for name in gates},
        f"{BLOCK}scale_shift_table": torch.zeros(9 if newer else 6, 64),
    }


def connectors() -> Tensors:
    return {
        f"{PREFIX}{kind}_embeddings_connector.learnable_registers": torch.zeros(2, 2) for kind in ("video", "audio")
    }


def projection(generation: str) -> Tensors:
    names = ["aggregate_embed"] if generation == "2" else ["video_aggregate_embed", "audio_aggregate_embed"]
    return {f"text_embedding_projection.{name}.weight": torch.zeros(2, 2) for name in names}


def gemma(newer: bool) -> Tensors:
    names = ["self_attn.q_norm.weight", "pre_feedforward_layernorm.weight", "post_feedforward_layernorm.weight"]
    tensors = {f"model.layers.0.{name}": torch.zeros(2) for name in [*names, *(["layer_scalar"] if newer else [])]}
    return tensors | {"model.embed_tokens.weight": torch.zeros(4, 2)}


def metadata(generation: str) -> dict[str, str]:
    if generation == "2.5":
        return {"model_version": "2.5.0", "gemma_source_checkpoint": json.dumps({"gemma_version": GEMMA_4})}
    return {"model_version": generation}


def gemma_config(kind: str, version: str | None = None) -> dict[str, str]:
    return {"gemma_config": json.dumps({"model_type": kind} | ({"gemma_version": version} if version else {}))}


class Files:
    """Writes the files of a case into a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, name: str, tensors: Tensors, data: dict[str, str] | None = None) -> Path:
        path = self.folder / name
        save_file(tensors, path, data)
        return path

    def ltx(self, generation: str, *, without: Tensors | None = None, described: bool = True) -> Path:
        tensors = transformer(generation) | connectors()
        tensors |= projection(generation) if generation != "2.5" else {}
        kept = {name: tensor for name, tensor in tensors.items() if name not in (without or {})}
        return self("ltx.safetensors", kept, metadata(generation) if described else None)

    def gemma3(self, *, tokenizer: bool = True) -> Path:
        if tokenizer:
            (self.folder / "tokenizer.json").touch()
        return self("gemma3.safetensors", gemma(False), gemma_config("gemma3"))

    def gemma4(self, version: str | None = GEMMA_4, *, with_projection: bool = True) -> Path:
        tensors = gemma(True) | (projection("2.5") if with_projection else {})
        tensors |= {"tokenizer_json": torch.zeros(2, dtype=torch.uint8)}
        return self("gemma4.safetensors", tensors, gemma_config("gemma4_unified", version))

    def pointer(self) -> Path:
        (self.folder / "gemma3.safetensors").write_bytes(LFS)
        return self.folder / "gemma3.safetensors"

    def pickle(self) -> Path:
        (self.folder / "gemma3.safetensors").write_bytes(b"PK\x03\x04" + bytes(60))
        return self.folder / "gemma3.safetensors"


WRONG_ENCODERS: dict[str, tuple[Callable[[Files], tuple[Path, Path]], str]] = {
    "stock Gemma 4 where the fine-tuned one is needed": (
        lambda files: (files.gemma4(None), files.ltx("2.5")),
        "{0}/gemma4.safetensors: ltx.safetensors expects the text encoder gemma4-12b-ltx-v1, found gemma4_unified; "
        "download gemma4-12b-ltx-v1",
    ),
    "Gemma 3 with LTX-2.5": (
        lambda files: (files.gemma3(), files.ltx("2.5")),
        "{0}/gemma3.safetensors: ltx.safetensors expects the text encoder gemma4-12b-ltx-v1, found gemma3; "
        "download gemma4-12b-ltx-v1",
    ),
    "Gemma 3 with LTX-2.5 without metadata": (
        lambda files: (files.gemma3(), files.ltx("2.5", described=False)),
        "{0}/gemma3.safetensors: ltx.safetensors expects the text encoder gemma4-12b-ltx-v1, found gemma3; "
        "download gemma4-12b-ltx-v1",
    ),
    "Gemma 4 with LTX-2": (
        lambda files: (files.gemma4(), files.ltx("2")),
        "{0}/gemma4.safetensors: ltx.safetensors expects the text encoder gemma3, found gemma4_unified; "
        "use Gemma 3 12B with LTX-2 and LTX-2.3",
    ),
    "Gemma 4 with LTX-2.3": (
        lambda files: (files.gemma4(), files.ltx("2.3")),
        "{0}/gemma4.safetensors: ltx.safetensors expects the text encoder gemma3, found gemma4_unified; "
        "use Gemma 3 12B with LTX-2 and LTX-2.3",
    ),
    "a Git-LFS pointer": (
        lambda files: (files.pointer(), files.ltx("2.3")),
        "{0}/gemma3.safetensors: a Git-LFS pointer of 73 bytes instead of weights; run 'git lfs pull' in its "
        "repository or download the file itself",
    ),
    "a pickle": (
        lambda files: (files.pickle(), files.ltx("2.3")),
        "{0}/gemma3.safetensors: a pickle, not a safetensors file; pickles can run any code and are never opened, get "
        "the .safetensors file",
    ),
    "nothing": (
        lambda files: (files.folder / "none.safetensors", files.ltx("2.3")),
        "{0}/none.safetensors: no such file or folder; expected a Gemma text encoder (its Hugging Face folder or its "
        "single .safetensors file)",
    ),
    "something else": (
        lambda files: (files("vae.safetensors", {"decoder.x": torch.zeros(1)}), files.ltx("2.3")),
        "{0}/vae.safetensors: expected a Gemma text encoder (its Hugging Face folder or its single .safetensors file), "
        "found none among its tensors; give the encoder's own path",
    ),
    "no projection in the checkpoint": (
        lambda files: (files.gemma3(), files.ltx("2.3", without=projection("2.3"))),
        "{0}/ltx.safetensors, {0}/gemma3.safetensors: expected a text projection (text_embedding_projection.*), found "
        "none; give the LTX checkpoint, for LTX-2.5 the text encoder file 'with-proj'",
    ),
    "no projection in the encoder of LTX-2.5": (
        lambda files: (files.gemma4(with_projection=False), files.ltx("2.5")),
        "{0}/ltx.safetensors, {0}/gemma4.safetensors: expected a text projection (text_embedding_projection.*), found "
        "none; give the LTX checkpoint, for LTX-2.5 the text encoder file 'with-proj'",
    ),
    "no tokenizer": (
        lambda files: (files.gemma3(tokenizer=False), files.ltx("2.3")),
        "{0}/gemma3.safetensors: no tokenizer in it, and neither tokenizer.json nor tokenizer.model in {0}; put the "
        "encoder's tokenizer.json there",
    ),
    "no connectors": (
        lambda files: (files.gemma3(), files.ltx("2.3", without=connectors())),
        "{0}/ltx.safetensors, {0}/gemma3.safetensors: expected a text connector (video_embeddings_connector.*), found "
        "none; give the LTX checkpoint itself, or the connectors file that belongs to it",
    ),
}


@pytest.mark.parametrize("case", WRONG_ENCODERS)
def test_a_wrong_text_encoder_is_refused_before_anything_is_read(tmp_path: Path, case: str) -> None:
    make, message = WRONG_ENCODERS[case]
    encoder, checkpoint = make(Files(tmp_path))
    with pytest.raises(ValueError, match=".") as caught:
        open_text(encoder, checkpoint, dtype=torch.float32)
    assert str(caught.value) == message.format(tmp_path)


@pytest.mark.parametrize("generation", ["2", "2.3", "2.5"])
@pytest.mark.parametrize("described", [True, False])
def test_the_right_encoder_is_accepted(tmp_path: Path, generation: str, described: bool) -> None:
    files = Files(tmp_path)
    encoder = files.gemma4() if generation == "2.5" else files.gemma3()
    part = open_text(encoder, files.ltx(generation, described=described), dtype=torch.float32)
    assert part.generation == generation


def apart(files: Files, generation: str) -> tuple[Path, Path, list[Path]]:
    """Transformer and Gemma without projection and connectors, and these in files of their own."""
    newer = generation != "2"
    shape = (2, 2048 if newer else 3840)
    alone = {f"{kind}_embeddings_connector.learnable_registers": torch.zeros(shape) for kind in ("video", "audio")}
    extra = [files("connectors.safetensors", alone), files("projection.safetensors", projection(generation))]
    return files.gemma3(), files.ltx("2.3", without=connectors() | projection("2.3")), extra


def test_projection_and_connectors_may_lie_apart(tmp_path: Path) -> None:
    encoder, checkpoint, extra = apart(Files(tmp_path), "2.3")
    text = open_text(encoder, checkpoint, dtype=torch.float32, extra=extra)
    assert "video_embeddings_connector.learnable_registers" in text.layers
    assert "text_embedding_projection.video_aggregate_embed.weight" in text.layers
    with pytest.raises(ValueError, match="expected a text projection"):
        open_text(encoder, checkpoint, dtype=torch.float32, extra=extra[:1])


def test_those_of_another_generation_are_refused(tmp_path: Path) -> None:
    encoder, checkpoint, extra = apart(Files(tmp_path), "2")
    for path in extra:
        with pytest.raises(ValueError, match=".") as caught:
            open_text(encoder, checkpoint, dtype=torch.float32, extra=[path])
        assert str(caught.value) == (
            f"{path.name}: expected LTX-2.3 like ltx.safetensors, found LTX-2; use parts of one generation"
        )


# mixtures of generations


@pytest.mark.parametrize(("ours", "theirs"), list(permutations(("2", "2.3", "2.5"), 2)))
@pytest.mark.parametrize("what", ["text_encoder", "video_vae", "audio_vae", "upscaler"])
def test_parts_of_two_generations_are_refused_by_name(ours: str, theirs: str, what: str) -> None:
    model = Part(generation=ours, path=Path("models/ltx.safetensors"))
    with pytest.raises(ValueError, match=".") as caught:
        refuse_mixed(model, theirs, what)
    assert str(caught.value) == (
        f"{what}: expected LTX-{ours} like ltx.safetensors, found LTX-{theirs}; use parts of one generation"
    )


@pytest.mark.parametrize("generation", ["2.3", "2.5"])
def test_what_two_generations_share_fits_both_and_no_third(generation: str) -> None:
    refuse_mixed(Part(generation=generation, path=Path("x")), "2.3 or 2.5", "audio_vae")
    refuse_mixed(Part(generation=generation, path=Path("x")), None, "upscaler")
    with pytest.raises(ValueError, match=r"audio_vae: expected LTX-2 like x, found LTX-2\.3 or 2\.5; use parts of one"):
        refuse_mixed(Part(generation="2", path=Path("x")), "2.3 or 2.5", "audio_vae")


def test_a_diffusion_decoder_tells_its_generation_and_a_plain_one_does_not(tmp_path: Path) -> None:
    tensors = {"decoder.conv_in_x_t.bias": torch.zeros(2), "per_channel_statistics.mean-of-means": torch.zeros(2)}
    path = Files(tmp_path)("vae.safetensors", tensors)
    assert open_video(path, dtype=torch.float32).generation == "2.5"


PLAIN: dict[str, tuple[int, ...]] = {"upsampler.0.weight": (128, 32, 3, 3)}
UPSCALERS: dict[str, tuple[dict[str, tuple[int, ...]], dict[str, str], str | None]] = {
    "its metadata": (PLAIN, {"model_version": "2.5.0"}, "2.5"),
    "the resampler of LTX-2": ({"upsampler.conv.weight": (128, 32, 3, 3)}, {}, "2"),
    "the resampler of later ones": (PLAIN, {}, "2.3 or 2.5"),
    "an unpublished one": ({"upsampler.conv.weight": (288, 32, 3, 3)}, {}, None),
    "frames, which all double alike": ({"upsampler.0.weight": (64, 32, 3, 3, 3)}, {}, None),
}


@pytest.mark.parametrize("case", UPSCALERS)
def test_what_an_upscaler_tells_of_its_generation(tmp_path: Path, case: str) -> None:
    shapes, data, generation = UPSCALERS[case]
    convolutions = ("initial_conv.weight", "res_blocks.0.conv1.weight", "final_conv.weight")
    common = {name: (32, 32, 3, 3, 3) for name in convolutions}
    tensors = {name: torch.zeros(shape) for name, shape in (common | shapes).items()}
    path = Files(tmp_path)("upscaler.safetensors", tensors, data or None)
    assert open_upscaler(path, dtype=torch.float32).generation == generation


@pytest.mark.parametrize(
    ("version", "generation"), [("2.3.rc1", "2.3"), ("2.5.0", "2.5"), ("2.0", None), ("9.9", None), ("x", None)]
)
def test_metadata_narrows_what_tensors_leave_open(tmp_path: Path, version: str, generation: str | None) -> None:
    """An audio VAE of the second kind is of 2.3 or 2.5; a version that contradicts its tensors counts for nothing."""
    tensors = {"audio_vae.decoder.conv_in.conv.bias": torch.zeros(2), "vocoder.vocoder.conv_pre.bias": torch.zeros(2)}
    path = Files(tmp_path)("audio.safetensors", tensors, {"model_version": version})
    assert detect_file(path).generation == (generation or "2.3 or 2.5")


LORAS = {
    "of another generation": (
        "diffusion_model.transformer_blocks.0.attn1.to_gate_logits",
        "{0}/lora.safetensors: expected a LoRA for LTX-2, found one for LTX-2.3 or 2.5; use a LoRA of the model's "
        "generation",
    ),
    "of another model": (
        "diffusion_model.double_blocks.0.img_attn.qkv",
        "{0}/lora.safetensors: expected keys of this transformer, found none among 2 "
        "(diffusion_model.double_blocks.0.img_attn.qkv.lora_A.weight, "
        "diffusion_model.double_blocks.0.img_attn.qkv.lora_B.weight); use a LoRA that was made for this model",
    ),
}


@pytest.mark.parametrize("case", LORAS)
def test_a_lora_that_does_not_fit_is_refused(tmp_path: Path, case: str) -> None:
    layer, message = LORAS[case]
    files = Files(tmp_path)
    full = {
        f"{PREFIX}{name}.weight": torch.zeros(64, 64) for name in ("patchify_proj", "proj_out", "audio_patchify_proj")
    }
    full |= {f"{PREFIX}audio_proj_out.weight": torch.zeros(64, 64), f"{BLOCK}scale_shift_table": torch.zeros(6, 64)}
    model = open_model(files("ltx.safetensors", full), dtype=torch.float32)
    parts = {f"{layer}.lora_A.weight": torch.zeros(2, 64), f"{layer}.lora_B.weight": torch.zeros(64, 2)}
    lora = files("lora.safetensors", parts)
    with pytest.raises(ValueError, match=".") as caught:
        with_lora(model, lora, LoraStrengths())
    assert str(caught.value) == message.format(tmp_path)


@pytest.mark.parametrize("length", [0x0280, 0x0380, 0x0480])
def test_a_header_whose_length_looks_like_a_pickle_is_none(tmp_path: Path, length: int) -> None:
    header = json.dumps({"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode().ljust(length)
    (tmp_path / "x.safetensors").write_bytes(length.to_bytes(8, "little") + header + bytes(4))
    assert open_checkpoint(tmp_path / "x.safetensors").shapes == {"x": (1,)}


def test_a_checkpoint_is_no_lora(tmp_path: Path) -> None:
    files = Files(tmp_path)
    path = files("vae.safetensors", {"vae.decoder.x": torch.zeros(1)})
    with pytest.raises(ValueError, match="expected a LoRA, found a file of kind video_vae; choose another file"):
        open_lora(path)
