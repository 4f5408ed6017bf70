"""The embedded model with something given: a first picture, a sound, all but a part of a clip. For `bench embedded`.

The graphs are that of text to video and sound with one item more; what is given is the truth of a held-out scene.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from openltx.api import load_workflow
from openltx.media.av_writer import Encoding, write_audio, write_av
from openltx.training.judge import judge, onset_errors
from openltx.training.preview import FPS, Heard
from openltx.training.world import SAMPLE_RATE, Clip

Graph = dict[str, Any]
Render = Callable[[Graph, Clip, int], Heard]  # graph, what it is told, seed
LATENT, VIDEO_VAE, AUDIO_VAE, SAMPLE, SAVE = ["4", 0], ["1", 2], ["1", 3], "6", "9"  # of text_to_av
PART = (0.7, 1.4)  # seconds that a retake makes anew
LOSSLESS = Encoding(video="ffv1", audio="flac")
MARGIN = 8  # frames beside the part that its edges may touch: one latent frame


def image_rows(clips: Sequence[Clip], coded: Sequence[Tensor], text_motion: float, render: Render) -> dict[str, float]:
    """The first frame is given: how well it is kept, against the codec; and whether the clip goes on as it is told.

    coded: the clips through the video VAE, read back from a file like those that `render` makes: it costs both alike.
    """
    kept, right, middle, end = [], [], [], []
    for seed, clip in enumerate(clips):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "first.png"
            Image.fromarray((clip.frames[0] * 255).round().byte().numpy()).save(path)
            made = render(_with_image(path), clip, seed)
        kept.append(psnr(coded[seed][:1], clip.frames[:1]) - psnr(made.frames[:1], clip.frames[:1]))
        right.append(judge(made.frames, made.mel, FPS).motion == clip.scene.motion)
        third = len(made.frames) // 3
        middle.append(_looks_right(made.frames[third : 2 * third], made.mel, clip))
        end.append(_looks_right(made.frames[2 * third :], made.mel, clip))
    motion = float(np.mean(right))
    return {
        "first frame below the codec, dB": float(np.mean(kept)),
        "motion": motion,
        "motion, share of text's": motion / max(text_motion, 1e-9),
        "colour and shape, middle third": float(np.mean(middle)),
        "colour and shape, last third": float(np.mean(end)),
    }


def audio_rows(clips: Sequence[Clip], render: Render) -> dict[str, float]:
    """The sound is given: share of its events that are seen within 50 and 100 ms."""
    errors: list[float] = []
    for seed, clip in enumerate(clip for clip in clips if clip.events):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "sound.wav"
            write_audio(path, clip.waveform, sample_rate=SAMPLE_RATE)
            made = render(_with_audio(path), clip, seed)
        seen = judge(made.frames, made.mel, FPS).video_events
        errors += onset_errors(clip.events, seen, len(made.frames) / FPS)
    found = np.array(errors)
    return {
        "seen within 50 ms": float((found <= 0.05).mean()),
        "seen within 100 ms": float((found <= 0.1).mean()),
        "events": len(errors),
    }


def retake_rows(clips: Sequence[Clip], coded: Sequence[Tensor], render: Render) -> dict[str, float]:
    """Half a second is made anew: likeness to the `coded` frames outside and inside, in dB of PSNR."""
    outside, inside = [], []
    first, last = (round(seconds * FPS) for seconds in PART)
    for seed, clip in enumerate(clips):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "clip.mkv"
            write_av(
                path, [clip.frames], frame_rate=24, waveform=clip.waveform, sample_rate=SAMPLE_RATE, encoding=LOSSLESS
            )
            made = render(_with_retake(path), clip, seed)
        same = coded[seed]
        kept = torch.ones(len(same), dtype=torch.bool)
        kept[max(0, first - MARGIN) : last + MARGIN] = False
        outside.append(psnr(made.frames[kept], same[kept]))
        inside.append(psnr(made.frames[first:last], same[first:last]))
    return {"outside, dB": float(np.mean(outside)), "inside, dB": float(np.mean(inside))}


def _looks_right(frames: Tensor, mel: Tensor, clip: Clip) -> float:
    """Share of colour and shape that are right in these frames."""
    seen = judge(frames, mel, FPS)
    return ((seen.colour == clip.scene.colour) + (seen.shape == clip.scene.shape)) / 2


def psnr(made: Tensor, target: Tensor) -> float:
    """In dB; both in 0..1."""
    return float(-10 * (made - target).square().mean().clamp(min=1e-10).log10())


def _with_image(path: Path) -> Graph:
    graph = load_workflow("text_to_av")
    graph["20"] = _node("LoadImage", image=str(path))
    item = {"image": ["20", 0], "frame": 0, "strength": 1.0, "placement": "replace", "crf": 0}
    graph["21"] = _node("OpenLTXConditionImage", latent=LATENT, video_vae=VIDEO_VAE, **item)
    return _sampled(graph, "21")


def _with_audio(path: Path) -> Graph:
    graph = load_workflow("text_to_av")
    graph["20"] = _node("LoadAudio", audio=str(path))
    graph["21"] = _node("OpenLTXGivenAudio", latent=LATENT, audio_vae=AUDIO_VAE, audio=["20", 0])
    graph[SAVE]["inputs"]["audio"] = ["20", 0]
    return _sampled(graph, "21")


def _with_retake(path: Path) -> Graph:
    graph = load_workflow("text_to_av")
    graph["20"] = _node("LoadVideo", file=str(path))
    graph["21"] = _node("GetVideoComponents", video=["20", 0])
    pictures = {"images": ["21", 0], "frame_rate": ["21", 2], "width": 0, "height": 0}
    graph["22"] = _node("OpenLTXEncodeVideo", video_vae=VIDEO_VAE, **pictures)
    graph["23"] = _node("OpenLTXEncodeAudio", audio_vae=AUDIO_VAE, audio=["21", 1], video=["22", 0])
    graph["24"] = _node("OpenLTXJoinAV", video=["22", 0], audio=["23", 0])
    part = {"start": PART[0], "end": PART[1], "streams": "video and audio"}
    graph["25"] = _node("OpenLTXConditionRetake", latent=["24", 0], **part)
    return _sampled(graph, "25")


def _node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def _sampled(graph: Graph, item: str) -> Graph:
    graph[SAMPLE]["inputs"]["latent"] = [item, 0]
    return graph
