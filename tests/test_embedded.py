"""The embedded tiny model: its file is what the training code describes, and it is put together honestly."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from openltx.model_loaders.audio_vae import audio_vae_config
from openltx.model_loaders.checkpoint import Checkpoint, open_checkpoint
from openltx.model_loaders.parts import open_parts, refuse_mixed
from openltx.model_loaders.transformer import generation_of_transformer, transformer_config
from openltx.model_loaders.video_vae import load_video_encoder, video_vae_config
from openltx.model_loaders.vocoder import vocoder_config
from openltx.training import embedded_config as sizes
from openltx.training.initial import file_name, networks
from openltx.training.preview import Settings, generate, held_out_scenes, open_miniature, scores
from openltx.training.stages.captions import tokenizer_text
from openltx.training.world import sample_scene

PATH = Path(sizes.__file__).parents[1] / "assets" / sizes.FILE_NAME


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return open_checkpoint(PATH)


def test_the_loaders_read_what_the_networks_were_built_from(checkpoint: Checkpoint) -> None:
    assert generation_of_transformer(checkpoint) == "2.3"
    assert transformer_config(checkpoint) == sizes.SHIPPED.transformer
    assert video_vae_config(checkpoint).encoder == sizes.VIDEO_ENCODER
    assert video_vae_config(checkpoint).decoder == sizes.VIDEO_DECODER
    assert audio_vae_config(checkpoint) == sizes.AUDIO_VAE
    assert vocoder_config(checkpoint) == sizes.VOCODER
    assert checkpoint.metadata == sizes.metadata()


def test_it_holds_every_network_and_nothing_else(checkpoint: Checkpoint) -> None:
    expected = {file_name(prefix, name) for prefix, network in networks().items() for name in network.state_dict()}
    assert set(checkpoint.entries) == expected | {"text_encoder.tokenizer_json"}
    assert PATH.stat().st_size <= 40_000_000


def test_it_does_what_captions_say() -> None:
    """A few clips of combinations that training never saw; all figures: `openltx bench embedded`, its model card."""
    model, scenes = open_miniature(PATH), held_out_scenes(6)
    made = generate(model, [scene.caption for scene in scenes], Settings(steps=12))
    found = scores(list(zip(made, scenes, strict=True)))
    assert found["colour"] >= 5 / 6
    assert found["background"] >= 5 / 6
    assert found["pitch"] >= 4 / 6
    assert found["silent"] == 0


def test_every_part_opens_and_encodes_any_text() -> None:
    parts = open_parts(PATH, dtype=torch.float32)
    cpu = torch.device("cpu")
    encoder = parts.text.encoder.on(cpu)
    for text in ("a red ball", "", "Ünïcödé 日本 \U0001f3b5"):
        conditioning = encoder.encode(text)
        assert conditioning.video_context.shape == (1, sizes.TEXT_LENGTH, sizes.HEADS * sizes.VIDEO_HEAD)
        assert conditioning.audio_context.shape == (1, sizes.TEXT_LENGTH, sizes.HEADS * sizes.AUDIO_HEAD)
        assert bool(torch.isfinite(conditioning.video_context).all())
    assert load_video_encoder(open_checkpoint(PATH)).config == sizes.VIDEO_ENCODER
    assert parts.model.generation == parts.video.generation == "2.3"


def test_parts_of_two_generations_are_refused_by_both_names() -> None:
    parts = open_parts(PATH, dtype=torch.float32)
    refuse_mixed(parts.model, "2.3", "positive")
    with pytest.raises(ValueError, match=r"positive: expected LTX-2\.3 like openltx-tiny.*found LTX-2\.5"):
        refuse_mixed(parts.model, "2.5", "positive")


def test_the_tokenizer_is_reproducible_and_covers_its_captions(checkpoint: Checkpoint) -> None:
    stored = checkpoint.load(["text_encoder.tokenizer_json"])["text_encoder.tokenizer_json"]
    tokenizer_text.cache_clear()
    assert stored.numpy().tobytes().decode("utf-8") == tokenizer_text(sizes.SHIPPED)
    encoder = open_parts(PATH, dtype=torch.float32).text.encoder.on(torch.device("cpu"))
    assert max(len(encoder.tokenize(sample_scene(seed).caption)) for seed in range(500)) < sizes.TEXT_LENGTH // 2
