"""Text conditioning: tokenizer, decoder, feature extractor, connectors, the whole chain."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import torch
from torch import Tensor

from ...model_loaders.assemble import assemble, strip_prefix
from ...model_loaders.duration_head import load_duration_head
from ...model_loaders.encoder_files import find_encoder
from ...model_loaders.prompt_enhancement import clean_response
from ...model_loaders.text_encoder import load_decoder, load_text_encoder
from ...model_loaders.text_projection import load_connector, load_projection
from ...networks.text.gemma import GemmaDecoder
from ...networks.text.generate import generate
from ...networks.transformer.attention import CaptionProjection
from ...samplers.shapes import automatic_frames
from ..case import Case
from ..registry import procedure


@procedure("text_encoder")
def text_encoder(case: Case) -> dict[str, Tensor]:
    """All hidden states of padded rows, 0 on padding; or, where the call says so, a greedy continuation."""
    decoder = load_decoder(find_encoder(case.path)).to(case.device, case.dtype)
    ids = case.inputs["input_ids"]
    if "max_new_tokens" in case.call:
        return _continuation(case, decoder, ids)
    mask = case.inputs["attention_mask"]
    states = torch.stack(list(decoder.hidden_states(ids, mask)))
    return {"hidden_states": states * mask[..., None]}


@procedure("feature_extractor")
def feature_extractor(case: Case) -> dict[str, Tensor]:
    """Stacked hidden states → features."""
    states, mask = case.inputs["hidden_states"].to(case.dtype), case.inputs["attention_mask"]
    projection = load_projection([case.checkpoint], hidden_size=states.shape[-1], num_states=states.shape[0])
    video, audio = projection.to(case.device, case.dtype)(states, mask)
    return {"video_features": video, "audio_features": audio}


@procedure("connectors")
def connectors(case: Case) -> dict[str, Tensor]:
    """Features → contexts; generation 2 gives both connectors the same features."""
    mask, video = case.inputs["attention_mask"], case.inputs["video_features"]
    features = {"video": video, "audio": case.inputs.get("audio_features", video)}
    outputs = {"mask": torch.ones_like(mask)}  # a context has no padding
    for modality in ("video", "audio"):
        connector = load_connector([case.checkpoint], modality).to(case.device, case.dtype)
        x = features[modality].to(case.dtype)
        outputs[f"{modality}_context"] = connector(x, mask, length=x.shape[1])
    return outputs


@procedure("text_conditioning")
def text_conditioning(case: Case) -> dict[str, Tensor]:
    """Prompt → contexts, and for generation 2 what the transformer's caption projections make of them."""
    encoder_name = case.call.get("gemma_folder") or case.call["text_encoder_file"]
    encoder = load_text_encoder(case.sibling(encoder_name), case.checkpoint).to(case.device, case.dtype)
    conditioning = encoder.encode(case.call["prompt"])
    video, audio = conditioning.video_context, conditioning.audio_context
    outputs = {"video_context": video, "audio_context": audio, "mask": torch.ones(video.shape[:2], dtype=torch.int64)}
    if encoder.generation == "2":
        outputs["video_context_projected"] = _caption_projection(case, "caption_projection", video)[:, :160]
        outputs["audio_context_projected"] = _caption_projection(case, "audio_caption_projection", audio)[:, :160]
    return outputs


@procedure("list.tokenizer_cases")
def tokenizer_cases(case: Case) -> dict[str, Tensor]:
    """Ids and the number of left pads of every prompt in the list."""
    rows = json.loads(Path(case.path).read_text("utf-8"))["cases"]
    tokenizers = {name: find_encoder(case.sibling(name)).tokenizer() for name in {row["tokenizer"] for row in rows}}
    results: dict[str, Tensor] = {}
    for number, row in enumerate(rows):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # some prompts are meant to be cut
            ids = tokenizers[row["tokenizer"]](row["text"], max_length=row["max_length"])
        same = ids == row["ids"] and row["max_length"] - len(ids) == row["pad_left"]
        results[f"{row['tokenizer']}/{number}"] = torch.tensor(same)
    return results


@procedure("list.clean_response_cases")
def clean_response_cases(case: Case) -> dict[str, Tensor]:
    """What is kept of every generated prompt in the list."""
    rows = json.loads(Path(case.path).read_text("utf-8"))
    return {str(i): torch.tensor(clean_response(row["in"]) == row["out"]) for i, row in enumerate(rows)}


@procedure("duration_head")
def duration_head(case: Case) -> dict[str, Tensor]:
    """Contexts → seconds; or, where the inputs are seconds, seconds → frames."""
    if "seconds" in case.inputs:
        return {"num_frames": _frames(case)}
    head = load_duration_head(case.checkpoint).to(case.device, case.dtype)
    video, audio = (case.inputs[f"{modality}_context"].to(case.dtype) for modality in ("video", "audio"))
    return {
        "seconds": head(video, audio),
        "seconds_video_only": head(video, None),
        "seconds_audio_only": head(None, audio),
    }


def _frames(case: Case) -> Tensor:
    names = ("seconds", "frame_rate", "min_seconds", "max_seconds")
    rows = zip(*(case.inputs[name].tolist() for name in names), strict=True)
    frames = [automatic_frames(seconds, fps, min_seconds=low, max_seconds=high) for seconds, fps, low, high in rows]
    return torch.tensor(frames)


def _continuation(case: Case, decoder: GemmaDecoder, ids: Tensor) -> dict[str, Tensor]:
    *_, last = decoder.hidden_states(ids)
    stop_ids, count = case.call["eos_token_id"], case.call["max_new_tokens"]
    new = list(generate(decoder, ids, max_new_tokens=count, stop_ids=stop_ids))
    return {"first_logits": decoder.logits(last[:, -1]), "new_ids": torch.tensor([new])}


def _caption_projection(case: Case, name: str, context: Tensor) -> Tensor:
    tensors = strip_prefix(case.checkpoint.entries, f"model.diffusion_model.{name}.")
    width, channels = case.checkpoint.entries[tensors["linear_1.weight"]].shape
    network = assemble(lambda: CaptionProjection(channels, width), case.checkpoint, tensors, what=name)
    projected: Tensor = network.to(context.device, context.dtype)(context)
    return projected
