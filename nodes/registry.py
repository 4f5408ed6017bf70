"""All node classes of the package. Imports torch and every stage: only what runs nodes imports this."""

from __future__ import annotations

from .conditioning import EncodePrompt
from .decode import DecodeAudio, DecodeVideo
from .host.api import io
from .latents import EmptyAVLatent
from .load import LoadModel
from .sample import Sample
from .save import SaveAV
from .schedule import DistilledSchedule, Schedule

NODES: list[type[io.ComfyNode]] = [
    LoadModel,
    EncodePrompt,
    EmptyAVLatent,
    Schedule,
    DistilledSchedule,
    Sample,
    DecodeVideo,
    DecodeAudio,
    SaveAV,
]
