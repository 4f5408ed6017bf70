"""A noise mask over some seconds of a clip, as ComfyUI's node pack makes it (spec pipelines.md section 18)."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from einops import rearrange, reduce
from torch import Tensor

from ..samplers.community import time_mask
from ..samplers.streams import Streams
from .host.api import io
from .latents import BOTH, FRAME_RATE, Latent, frame_rate_of, joined, members


class TimeMask(io.ComfyNode):
    """Seconds of a clip that are to be made anew, by the community's rule."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXTimeMask",
            display_name="Time Mask (LTX)",
            category="OpenLTX/conditioning",
            description="Masks a part of a clip's time as ComfyUI's node pack does: only groups of 8 frames that lie "
            "wholly inside. For our samplers and ComfyUI's.",
            inputs=[
                io.Latent.Input(
                    "latent", tooltip="The encoded source: video, sound or both; a mask on it is replaced."
                ),
                io.Float.Input(
                    "start", default=0.0, min=0.0, max=3600.0, step=0.01, tooltip="Begin of the part, in seconds."
                ),
                io.Float.Input(
                    "end", default=1.0, min=0.0, max=3600.0, step=0.01, tooltip="End of the part, in seconds."
                ),
                io.Combo.Input(
                    "streams",
                    options=[BOTH, "video", "audio"],
                    default=BOTH,
                    tooltip="What is made anew inside; the other one has the value of outside everywhere.",
                ),
                io.Float.Input(
                    "outside",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Value of the mask elsewhere: 0 keeps, 1 makes anew.",
                ),
                io.Float.Input(
                    "frame_rate",
                    default=0.0,
                    min=0.0,
                    max=240.0,
                    step=0.001,
                    optional=True,
                    tooltip="Frames a second of the video; 0: what the latent says.",
                ),
                io.Mask.Input(
                    "mask", optional=True, tooltip="Where in the picture, 1: anew; its largest value of all frames."
                ),
            ],
            outputs=[io.Latent.Output("latent", tooltip="The latent with the noise mask.")],
        )

    @classmethod
    def execute(
        cls,
        latent: Latent,
        start: float,
        end: float,
        streams: str,
        outside: float,
        frame_rate: float = 0.0,
        mask: Tensor | None = None,
    ) -> io.NodeOutput:
        pair = members(latent)
        lengths = pair.map(lambda member: member.shape[2])
        rate = frame_rate or (25.0 if pair.video is None else frame_rate_of(latent))
        found = time_mask(start, end, lengths, rate, outside=outside)
        chosen = Streams(video=streams != "audio", audio=streams != "video")
        found = found.map(lambda own, wanted: own if wanted else torch.full_like(own, outside), chosen)
        video = None if pair.video is None or found.video is None else _in_space(found.video, outside, mask, pair.video)
        audio = None if found.audio is None else rearrange(found.audio, "t -> 1 1 t 1")
        made = {**latent, "noise_mask": joined(Streams(video=video, audio=audio))}
        return io.NodeOutput({**made, FRAME_RATE: rate} if pair.video is not None else made)


def _in_space(inside: Tensor, outside: float, mask: Tensor | None, video: Tensor) -> Tensor:
    """(1, 1, F, 1, 1), or with a mask in space (1, 1, F, H, W); inside (F,) is 1 on the chosen frames."""
    frames = rearrange(inside, "f -> 1 1 f 1 1")
    if mask is None:
        return frames
    area = reduce(mask if mask.ndim == 3 else mask[None], "f h w -> 1 1 h w", "max").float()
    resized = F.interpolate(area, size=video.shape[3:], mode="bilinear").clamp(0, 1)[:, :, None]
    return torch.where(frames == 1, resized.clamp(min=outside), torch.full_like(frames, outside))
