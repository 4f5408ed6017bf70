"""ComfyUI's own text encoders and VAEs in our nodes: taken, or refused with the node to use instead."""

from __future__ import annotations

from typing import Any

import pytest
import torch


class Theirs:
    """A node that gives an object which a test has made."""

    CATEGORY, FUNCTION = "test", "give"
    given: Any = None

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {}}

    def give(self) -> tuple[Any]:
        return (Theirs.given,)


class TheirClip(Theirs):
    RETURN_TYPES = ("CLIP",)


class TheirVae(Theirs):
    RETURN_TYPES = ("VAE",)


@pytest.fixture
def theirs(graphs: Any) -> type[Theirs]:
    import nodes  # type: ignore[import-not-found]  # ComfyUI's

    nodes.NODE_CLASS_MAPPINGS |= {"TheirClip": TheirClip, "TheirVae": TheirVae}
    return Theirs


def clip_of_comfyui(own: Any) -> Any:
    """A CLIP whose encoder is none of ours, and gives features as ComfyUI's does: the connectors have not seen them."""
    import comfy.sd

    encoder = own.cond_stage_model.encoder

    class Clip(comfy.sd.CLIP):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(no_init=True)
            self.cond_stage_model = torch.nn.Identity()

        def tokenize(self, text: str, return_word_ids: bool = False, **options: Any) -> Any:
            return torch.tensor([encoder.tokenize(text)])

        def encode_from_tokens_scheduled(self, tokens: Any, **options: Any) -> Any:
            with torch.inference_mode():
                features = encoder.projection(encoder.decoder.hidden_states(tokens), torch.ones_like(tokens))
            return [[torch.cat(features, dim=-1), {"pooled_output": None, "unprocessed_ltxav_embeds": True}]]

    return Clip()


def test_text_of_their_encoder(graphs: Any, side: Any, theirs: Any, caplog: pytest.LogCaptureFixture) -> None:
    theirs.given = clip_of_comfyui(graphs.run(side.stage(), ("load", 1)))
    plain = graphs.run({**side.stage(), "out": side.ours()}, ("out", 0))["samples"].unbind()
    graph = {**side.stage(), "clip": side.node("TheirClip"), "out": side.ours()}
    graph["yes"] = side.node("OpenLTXEncodePrompt", text_encoder=["clip", 0], text="a ball bounces")
    found, positive = graphs.run(graph, ("out", 0), ("yes", 0))
    for one, other in zip(found["samples"].unbind(), plain, strict=True):
        assert torch.allclose(one, other, atol=1e-4)
    assert "openltx_generation" not in positive[0][1]
    assert "ComfyUI's Identity does not say of which generation it is" in caplog.text
    graph["several"] = side.node("OpenLTXEncodePrompts", text_encoder=["clip", 0], texts="a ball\n---\na box")
    assert len(graphs.run(graph, ("several", 0))) == 2
    graph["enhanced"] = side.node(
        "OpenLTXEnhancePrompt", text_encoder=["clip", 0], **required_of("OpenLTXEnhancePrompt")
    )
    assert "text_encoder: expected a text encoder from Load LTX Model, found ComfyUI's Identity" in graphs.run(
        graph, ("enhanced", 0), expect="failed"
    )


CALLS: dict[str, dict[str, Any]] = {
    "OpenLTXDecodeVideo": {"latent": ["empty", 0], "video_vae": ["vae", 0]},
    "OpenLTXDecodeAudio": {"latent": ["empty", 0], "audio_vae": ["vae", 0]},
    "OpenLTXEncodeVideo": {"video_vae": ["vae", 0], "images": ["picture", 0], "width": 64, "height": 64},
    "OpenLTXEncodeAudio": {"audio_vae": ["vae", 0], "audio": ["sound", 0]},
}


@pytest.mark.parametrize("name", CALLS)
def test_their_vaes_are_refused_by_name(graphs: Any, side: Any, theirs: Any, name: str) -> None:
    import comfy.sd

    theirs.given = object.__new__(comfy.sd.VAE)
    graph = {**side.stage(), "vae": side.node("TheirVae")}
    graph["picture"] = side.node("EmptyImage", width=64, height=64, batch_size=1, color=0)
    graph["sound"] = side.node("OpenLTXDecodeAudio", latent=["empty", 0], audio_vae=["load", 3])
    given = required_of(name) | CALLS[name]
    text = graphs.run({**graph, "out": side.node(name, **given)}, ("out", 0), expect="failed")
    kind, use = ("an audio", "LTXVAudioVAEDecode") if "Audio" in name else ("a video", "VAEDecode")
    assert f"expected {kind} VAE from Load LTX Model or Load VAEs (LTX), found ComfyUI's own VAE" in text
    assert f"or use {use}" in text


def required_of(name: str) -> dict[str, Any]:
    """Widgets of a node at their defaults."""
    import nodes

    required = nodes.NODE_CLASS_MAPPINGS[name].INPUT_TYPES()["required"]
    options = {key: (more[0] if more else {}) for key, (_, *more) in required.items()}
    return {key: each["default"] for key, each in options.items() if "default" in each}


def test_writing_with_our_encoder_is_refused_by_name(graphs: Any, side: Any) -> None:
    inputs = {"prompt": "a ball", "max_length": 8, "sampling_mode": "off"}
    graph = {**side.stage(), "text": side.node("TextGenerateLTX2Prompt", clip=["load", 1], **inputs)}
    text = graphs.run(graph, ("text", 0), expect="failed")
    assert "clip: this text encoder encodes prompts only, it writes none; use Enhance Prompt (LTX)" in text
