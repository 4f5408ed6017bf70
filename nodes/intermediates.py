"""What is on wires between stages to a file and back: to look at, to change elsewhere, to go on with another day."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from ..given_text import parse_json
from ..media.targets import whole_file
from ..model_loaders.checkpoint import CheckpointError, open_checkpoint
from ..networks.transformer.watch import Watch
from ..samplers.noise import Draw, SdeNoise, sde_noise, step_noise
from ..samplers.state import StreamState
from ..samplers.streams import Streams
from ..samplers.tokens import patchify_audio, patchify_video
from .attention_maps import AttentionMap, AttentionType
from .contexts import Conditioning
from .host.api import input_sequence, input_sequences, io, output_file, ui
from .latents import AUDIO_ITEMS, VIDEO_ITEMS, Latent, joined
from .made import MADE

FORMAT, SUFFIX = "openltx_intermediates", ".safetensors"
PLAIN = (str, int, float, bool)
CONDITIONING, LATENT, SIGMAS, NOISE, ATTENTION = "conditioning", "latent", "sigmas", "noise", "attention"
Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class StoredNoise:
    """NOISE from a file: the numbers of the grid by their axes; those that a step rule draws come from `seed`."""

    members: tuple[Tensor, ...]
    seed: int

    def start(self, states: Streams[StreamState]) -> Streams[Tensor]:
        """Raises ValueError for latents of another size, and for appended tokens, which the file has no noise for."""
        tokens = [patchify_video(member) if member.ndim == 5 else patchify_audio(member) for member in self.members]
        by_axes = {member.ndim: grid for member, grid in zip(self.members, tokens, strict=True)}
        stored = Streams(video=by_axes.get(5), audio=by_axes.get(4))

        def fitting(state: StreamState, grid: Tensor | None) -> Tensor:
            found = None if grid is None else tuple(grid.shape)
            if grid is None or found != tuple(state.latent.shape):
                raise ValueError(
                    f"noise: expected numbers for {tuple(state.latent.shape)} (samples, tokens, channels), found "
                    f"{found}; use Noise (LTX), or the latent that the noise was saved for"
                )
            return grid

        return states.map(fitting, stored)

    def steps(self) -> Draw:
        return step_noise(self.seed)

    def sde(self, seed: int) -> SdeNoise:
        return sde_noise(seed)

    def generate_noise(self, latent: Latent) -> Any:
        """For ComfyUI's samplers."""
        found, wanted = ([tuple(m.shape) for m in members] for members in (self.members, _members(latent["samples"])))
        if found != wanted:
            raise ValueError(f"noise: expected numbers for latents {wanted}, found {found}; use Noise (LTX)")
        return _nested(list(self.members))


class SaveIntermediates(io.ComfyNode):
    """What is on wires, into one file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXSaveIntermediates",
            display_name="Save Intermediates (LTX)",
            category="OpenLTX/save",
            description="Conditioning, latent, sigmas, noise, attention map into one .safetensors file, as they are.",
            is_output_node=True,
            inputs=[
                io.String.Input(
                    "filename_prefix", default="openltx_parts", tooltip="Name of the file, below the output folder."
                ),
                io.Conditioning.Input("conditioning", optional=True, tooltip="An encoded prompt."),
                io.Latent.Input("latent", optional=True, tooltip="Video, sound or both; without conditioning items."),
                io.Sigmas.Input("sigmas", optional=True, tooltip="Noise levels of a stage."),
                io.Noise.Input("noise", optional=True, tooltip="Start noise, drawn for the latent: connect that too."),
                AttentionType.Input("attention", optional=True, tooltip="From Attention Map (LTX)."),
            ],
            outputs=[],
        )

    @classmethod
    def execute(
        cls,
        filename_prefix: str,
        conditioning: Conditioning | None = None,
        latent: Latent | None = None,
        sigmas: Tensor | None = None,
        noise: Any = None,
        attention: AttentionMap | Watch | None = None,
    ) -> io.NodeOutput:
        tensors: Tensors = {}
        told: dict[str, Any] = {}
        for place, (context, options) in enumerate(conditioning or ()):
            told[f"{CONDITIONING}.{place}"] = _put(tensors, f"{CONDITIONING}.{place}", {"context": context, **options})
        if latent is not None:
            told[LATENT] = _put(tensors, LATENT, _savable(latent))
        if sigmas is not None:
            told[SIGMAS] = _put(tensors, SIGMAS, {"values": sigmas})
        if noise is not None:
            told[NOISE] = _put(tensors, NOISE, {"samples": _drawn(noise, latent), "seed": int(noise.seed)})
        if attention is not None:
            told[ATTENTION] = _put(tensors, ATTENTION, _shown(attention))
        if not told:
            raise ValueError("intermediates: expected something to save, found nothing; connect a wire")
        saved = output_file(filename_prefix, SUFFIX)
        with whole_file(saved.path) as beside:
            save_file(tensors, beside, {FORMAT: json.dumps(told)})
        return io.NodeOutput(ui=ui.PreviewText(f"{saved.filename}: {', '.join(sorted(told))}"))


class LoadIntermediates(io.ComfyNode):
    """What Save Intermediates has saved."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXLoadIntermediates",
            display_name="Load Intermediates (LTX)",
            category="OpenLTX/loaders",
            description="A file of Save Intermediates (LTX), from the input folder. An output that it does not hold is "
            "empty.",
            inputs=[io.Combo.Input("file", options=input_sequences(SUFFIX), tooltip="In ComfyUI's input folder.")],
            outputs=[
                io.Conditioning.Output("conditioning", tooltip="As it was saved."),
                io.Latent.Output("latent", tooltip="As it was saved; the run manifest is not kept."),
                io.Sigmas.Output("sigmas", tooltip="As they were saved."),
                io.Noise.Output("noise", tooltip="The saved numbers, for a latent of the same size."),
                AttentionType.Output("attention", tooltip="For Attention Map (LTX)."),
            ],
        )

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        told, tensors = _read(input_sequence(file))
        parts = {name: _taken(entry, tensors) for name, entry in told.items()}
        prompts = [parts[name] for name in sorted(parts, key=_place) if name.startswith(f"{CONDITIONING}.")]
        conditioning = [[prompt.pop("context"), prompt] for prompt in prompts]
        noise, sigmas, attention = parts.get(NOISE), parts.get(SIGMAS), parts.get(ATTENTION)
        return io.NodeOutput(
            conditioning or None,
            parts.get(LATENT),
            None if sigmas is None else sigmas["values"],
            None if noise is None else StoredNoise(tuple(_members(noise["samples"])), noise["seed"]),
            None if attention is None else AttentionMap(values=attention.pop("values"), told=attention),
        )

    @classmethod
    def fingerprint_inputs(cls, file: str) -> Any:
        status = input_sequence(file).stat()
        return status.st_mtime_ns, status.st_size


def _shown(attention: AttentionMap | Watch) -> Mapping[str, Any]:
    """ValueError for what is only being recorded."""
    if isinstance(attention, Watch):
        raise ValueError("attention: expected a map, found a recording; connect Attention Map (LTX) between")
    return {"values": attention.values, **attention.told}


def _savable(latent: Latent) -> Latent:
    """Without the run manifest. ValueError for conditioning items, which are no numbers."""
    if latent.get(VIDEO_ITEMS) or latent.get(AUDIO_ITEMS):
        raise ValueError("latent: expected one without conditioning items, found some; save it before them")
    return {name: value for name, value in latent.items() if name not in (MADE, VIDEO_ITEMS, AUDIO_ITEMS)}


def _drawn(noise: Any, latent: Latent | None) -> Any:
    if latent is None:
        raise ValueError("noise: expected the latent that it is for, found none; connect it too")
    return noise.generate_noise(latent)


def _put(tensors: Tensors, name: str, entries: Mapping[str, Any]) -> dict[str, Any]:
    """Adds the tensors among the entries as `name.entry.member`; what else must be kept of them, as JSON."""
    told: dict[str, Any] = {}
    for key, value in entries.items():
        if isinstance(value, PLAIN) or value is None:
            told[key] = {"value": value}
        elif isinstance(value, Tensor) or getattr(value, "is_nested", False):
            named = {f"{name}.{key}.{place}": member for place, member in enumerate(_members(value))}
            tensors |= {at: member.detach().cpu().contiguous().clone() for at, member in named.items()}
            told[key] = {"tensors": list(named), "nested": not isinstance(value, Tensor)}
        else:
            raise ValueError(
                f"{name}: expected numbers and words, found {type(value).__name__} under {key!r}; save it "
                "before the node that put it there"
            )
    return told


def _taken(told: Mapping[str, Any], tensors: Tensors) -> dict[str, Any]:
    """The inverse of `_put`."""
    return {key: _value(entry, tensors) for key, entry in told.items()}


def _value(entry: Mapping[str, Any], tensors: Tensors) -> Any:
    if "value" in entry:
        return entry["value"]
    members = [tensors[name] for name in entry["tensors"]]
    return _nested(members) if entry["nested"] else members[0]


def _read(path: Path) -> tuple[dict[str, Any], Tensors]:
    """Raises CheckpointError for a file of another kind."""
    file = open_checkpoint(path)
    text = file.metadata.get(FORMAT)
    if text is None:
        raise CheckpointError(f"{path.name}: expected a file of Save Intermediates (LTX), found another; choose one")
    return parse_json(text), {name: tensor.clone() for name, tensor in file.load(list(file.entries)).items()}


def _members(value: Any) -> Sequence[Tensor]:
    return list(value.unbind()) if getattr(value, "is_nested", False) else [value]


def _nested(members: list[Tensor]) -> Any:
    """As on a wire: two or more latents together, one alone as it is."""
    if len(members) == 1:
        return members[0]
    return joined(Streams(video=members[0], audio=members[1]))


def _place(name: str) -> tuple[int, ...]:
    return tuple(int(word) for word in name.split(".") if word.isdecimal())
