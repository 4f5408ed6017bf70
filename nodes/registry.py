"""All node classes of the package. Imports torch and every stage: only what runs nodes imports this."""

from __future__ import annotations

from .conditioning import EncodePrompt
from .decode import DecodeAudio, DecodeKeyframes, DecodeVideo
from .encode import EncodeAudio, EncodeVideo
from .given_items import FreezeStream, GivenAudio, GivenVideo, ReferenceVoice
from .guide import MultimodalGuider, PresetGuider, StreamGuidance
from .host.api import io
from .image_items import ConditionImage, ConditionReference, ConditionSlots
from .join import JoinAV, SplitAV
from .latents import EmptyAVLatent
from .load import LoadModel, LoadTransformer, LoadUpscaler, LoadVAE
from .mask_items import ConditionInpaint, ConditionRetake
from .noise import Noise
from .rules import Sampler
from .sample import Sample, SampleStage
from .save import SaveAV
from .schedule import DistilledSchedule, NamedSchedule, Schedule, SchedulePart
from .upscale import UpscaleLatent

NODES: list[type[io.ComfyNode]] = [
    *(LoadModel, LoadTransformer, LoadVAE, LoadUpscaler),
    *(EncodePrompt, EncodeVideo, EncodeAudio),
    *(EmptyAVLatent, JoinAV, SplitAV, UpscaleLatent),
    *(ConditionImage, ConditionReference, ConditionSlots, ConditionInpaint, ConditionRetake),
    *(GivenAudio, GivenVideo, FreezeStream, ReferenceVoice),
    *(Schedule, DistilledSchedule, NamedSchedule, SchedulePart),
    *(Noise, Sampler, StreamGuidance, MultimodalGuider, PresetGuider),
    *(Sample, SampleStage),
    *(DecodeVideo, DecodeAudio, DecodeKeyframes, SaveAV),
]
