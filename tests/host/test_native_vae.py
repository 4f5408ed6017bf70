"""VAE in ComfyUI: its encode and decode nodes on ours, and ours on the same objects."""

from __future__ import annotations

import importlib
from typing import Any
from unittest.mock import Mock

import pytest
import torch


def decoded(graphs: Any, side: Any, **nodes: Any) -> Any:
    """What nodes make of one sampled latent; ("n", output) by name."""
    graph = {**side.stage(), "out": side.ours(), "split": side.node("LTXVSeparateAVLatent", av_latent=["out", 0])}
    return graphs.run({**graph, **nodes}, *((name, 0) for name in nodes))


def test_decode(graphs: Any, side: Any) -> None:
    theirs, ours = decoded(
        graphs,
        side,
        theirs=side.node("VAEDecode", samples=["out", 0], vae=["load", 2]),
        ours=side.node("OpenLTXDecodeVideo", latent=["out", 0], video_vae=["load", 2]),
    )
    assert tuple(theirs.shape) == (17, 64, 64, 3)
    assert torch.equal(theirs, ours)


def test_the_decoder_of_float32_is_read_once_and_comfyuis_to_move(
    graphs: Any, side: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = importlib.import_module("openltx_in_comfyui.model_loaders.parts")
    management = importlib.import_module("comfy.model_management")
    read = Mock(wraps=parts.load_any_video_decoder)
    monkeypatch.setattr(parts, "load_any_video_decoder", read)
    graph = {**side.stage(), "out": side.ours()}
    graph["load"] = side.node(
        "OpenLTXLoadModel", checkpoint=side.CHECKPOINT, text_encoder="inside the checkpoint", dtype="bfloat16"
    )
    frames = {}
    fresh = graphs.anew()
    for run, choice in enumerate(("float32", "of the loader", "float32")):
        inputs: dict[str, Any] = {"latent": ["out", 0], "video_vae": ["load", 2], "precision": choice}
        graph[f"show{run}"] = side.node("OpenLTXDecodeVideo", **inputs)
        frames[run] = fresh.run(graph, (f"show{run}", 0))
    assert read.call_count == 2
    assert torch.equal(frames[0], frames[2])
    assert not torch.equal(frames[0], frames[1])
    loaded = [entry.model.model for entry in management.current_loaded_models]
    dtypes = {next(model.parameters()).dtype for model in loaded if type(model).__name__ == "VideoDecoder"}
    assert dtypes == {torch.float32}


def test_decode_in_tiles(graphs: Any, side: Any) -> None:
    """One tile gives the same; several differ at seams only a little."""
    tiles = {"tile_size": 64, "overlap": 0, "temporal_size": 64, "temporal_overlap": 8}
    links: dict[str, Any] = {"samples": ["split", 0], "vae": ["load", 2]}
    tiled, whole = decoded(
        graphs,
        side,
        tiled=side.node("VAEDecodeTiled", **tiles, **links),
        whole=side.node("VAEDecode", **links),
    )
    assert tiled.shape == whole.shape
    assert float((tiled - whole).abs().max()) < 1e-5


def test_encode(graphs: Any, side: Any) -> None:
    size = {"width": 64, "height": 64, "frame_rate": 24.0}
    tiles = {"tile_size": 512, "overlap": 64, "temporal_size": 64, "temporal_overlap": 8}
    frames = {"frames": side.node("VAEDecode", samples=["out", 0], vae=["load", 2])}
    _, ours, theirs, tiled = decoded(
        graphs,
        side,
        **frames,
        ours=side.node("OpenLTXEncodeVideo", images=["frames", 0], video_vae=["load", 2], **size),
        theirs=side.node("VAEEncode", pixels=["frames", 0], vae=["load", 2]),
        tiled=side.node("VAEEncodeTiled", pixels=["frames", 0], vae=["load", 2], **tiles),
    )
    assert tuple(theirs["samples"].shape) == (1, 32, 3, 2, 2)
    assert float((theirs["samples"] - ours["samples"]).abs().max()) < 1e-3
    assert float((tiled["samples"] - theirs["samples"]).abs().max()) < 1e-5


def test_picture_as_first_frame(graphs: Any, side: Any) -> None:
    """ComfyUI's node on our VAE and latent, and its mask under both samplers."""
    image = side.node("EmptyImage", width=64, height=64, batch_size=1, color=0x336699)
    place: dict[str, Any] = {"vae": ["load", 2], "image": ["image", 0], "latent": ["first", 0]}
    graph = {**side.stage(), "image": image, "first": side.node("OpenLTXSplitAV", latent=["empty", 0])}
    graph["placed"] = side.node("LTXVImgToVideoInplace", strength=1.0, bypass=False, **place)
    graph["joined"] = side.node("LTXVConcatAVLatent", video_latent=["placed", 0], audio_latent=["first", 1])
    ours = side.ours()
    ours["inputs"]["latent"] = ["joined", 0]
    placed, theirs, found = graphs.run(
        {**graph, **side.cores(latent="joined"), "ours": ours}, ("placed", 0), ("out", 0), ("ours", 0)
    )
    first = placed["samples"][:, :, 0]
    for latent in (theirs, found):
        assert torch.allclose(latent["samples"].unbind()[0][:, :, 0], first, atol=1e-6)
    one, other = (latent["samples"].unbind()[0] for latent in (theirs, found))
    assert torch.allclose(one, other, atol=2e-5)


def test_sound(graphs: Any, side: Any) -> None:
    links: dict[str, Any] = {"samples": ["out", 0], "audio_vae": ["load", 3]}
    theirs, ours, again, encoded, empty = decoded(
        graphs,
        side,
        theirs=side.node("LTXVAudioVAEDecode", **links),
        ours=side.node("OpenLTXDecodeAudio", latent=["out", 0], audio_vae=["load", 3]),
        again=side.node("LTXVAudioVAEEncode", audio=["ours", 0], audio_vae=["load", 3]),
        encoded=side.node("OpenLTXEncodeAudio", audio=["ours", 0], audio_vae=["load", 3]),
        empty=side.node("LTXVEmptyLatentAudio", frames_number=17, frame_rate=24, batch_size=1, audio_vae=["load", 3]),
    )
    assert theirs["sample_rate"] == ours["sample_rate"]
    assert torch.equal(theirs["waveform"], ours["waveform"])
    assert again["samples"].shape == encoded["samples"].shape
    # Two resamplers, of different length and roll-off, in front of one encoder.
    assert float((again["samples"] - encoded["samples"]).abs().mean()) < 0.1 * float(encoded["samples"].abs().mean())
    made = graphs.run(side.stage(), ("empty", 0))["samples"].unbind()[1]
    assert empty["samples"].shape == made.shape


def test_sound_from_mono(graphs: Any, side: Any) -> None:
    vae = graphs.run(side.stage(), ("load", 3))
    mono = torch.sin(torch.arange(16000) / 20)[None, :, None] * 0.5  # B N C, at the rate of the VAE
    with torch.inference_mode():
        one, two = vae.encode(mono), vae.encode(mono.expand(-1, -1, 2))
        assert torch.equal(one, two)
        assert torch.equal(vae.encode_tiled(mono), one)
        assert vae.decode_tiled(one, tile_x=4, tile_y=4, overlap=1).shape == vae.decode(one).shape


def test_every_member_that_hosts_ask_for(graphs: Any, side: Any) -> None:
    video, audio = graphs.run(side.stage(), ("load", 2), ("load", 3))
    patcher = importlib.import_module("comfy.model_patcher").ModelPatcher
    for vae in (video, audio):
        assert isinstance(vae, importlib.import_module("comfy.sd").VAE)
        assert isinstance(vae.patcher, patcher)
        assert vae.model_size() > 0
        assert vae.get_sd()
        assert not vae.is_dynamic()
        vae.throw_exception_if_invalid()
    assert video.downscale_index_formula == (8, 32, 32)
    assert video.spacial_compression_decode() == video.spacial_compression_encode() == 32
    assert video.temporal_compression_decode() == 8
    assert video.latent_channels == 32
    assert audio.first_stage_model.latent_frequency_bins == 16


def test_statistics_for_the_upsampler(graphs: Any, side: Any) -> None:
    statistics = graphs.run(side.stage(), ("load", 2)).first_stage_model.per_channel_statistics
    x = torch.randn(1, 32, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.allclose(statistics.normalize(statistics.un_normalize(x)), x, atol=1e-4)


def test_the_wrong_vae_is_named(graphs: Any, side: Any) -> None:
    graph = {**side.stage(), "out": side.ours()}
    graph["images"] = side.node("OpenLTXDecodeVideo", latent=["out", 0], video_vae=["load", 3])
    text = graphs.run(graph, ("images", 0), expect="failed")
    assert "video_vae: expected a video VAE from Load LTX Model or Load VAEs (LTX), found an audio VAE" in text
    own = importlib.import_module("openltx_in_comfyui.nodes.host.comfyui.vae").own_vae
    with pytest.raises(ValueError, match="audio_vae: expected an audio VAE .*found ComfyUI's own VAE"):
        own(object(), "audio_vae")
