"""All node classes of the package. Imports torch and every stage: only what runs nodes imports this."""

from __future__ import annotations

from .attention_maps import RecordAttention, ShowAttention
from .clip import LoadClip
from .clips import CompositeClip, CropClip, InpaintClip, OutpaintClip, PadClip, StillClip
from .conditioning import EncodePrompt
from .decode import DecodeAudio, DecodeKeyframes, DecodeVideo
from .download import Download
from .encode import ClipSize, EncodeAudio, EncodeVideo
from .enhance import EnhancePrompt
from .given_items import FreezeStream, GivenAudio, GivenVideo, ReferenceVoice
from .guide import MultimodalGuider, PresetGuider, StreamGuidance
from .hdr import CodesToLight, LightToCodes, LoadEXR, PreviewHDR
from .host.api import io
from .image_items import ConditionImage, ConditionReference, ConditionSlots
from .inspect import InspectFile
from .intermediates import LoadIntermediates, SaveIntermediates
from .join import JoinAV, SplitAV
from .latents import EmptyAVLatent
from .load import LoadModel, LoadTransformer, LoadUpscaler, LoadVAE, OneStream
from .long import EncodePrompts, SampleLong
from .looping import SampleLooping
from .lora import LoadLora, LoadTextLora
from .mask_items import ConditionInpaint, ConditionRetake
from .negative_prompt import NegativePrompt
from .noise import NextNoise, Noise
from .plan import MemoryPlan
from .recipe import Recipe
from .rendering import RenderCanvas, RenderKeyframes, RenderTile, StitchTiles, TrimAudio, TrimVideo
from .rules import Sampler
from .sample import Sample, SampleStage
from .save import SaveAudio, SaveAV, SaveFrames
from .schedule import DistilledSchedule, NamedSchedule, Schedule, SchedulePart
from .shots.file import ShotLatent, ShotsToFile
from .shots.overview import ShotTable
from .shots.plan import ShotList
from .shots.sample import SampleShots
from .step_changes import ScaleSteps, SteadySteps
from .step_preview import StepPreview
from .tiled import FittingTiledGuider, MaskRule, SampleTiles, TiledGuider
from .time_mask import TimeMask
from .to_file import DecodeToFile
from .train import TrainLora
from .upscale import UpscaleLatent

NODES: list[type[io.ComfyNode]] = [
    *(LoadModel, LoadTransformer, LoadVAE, LoadUpscaler, OneStream),
    *(LoadLora, LoadTextLora, InspectFile, Download, LoadClip, LoadIntermediates, TrainLora, MemoryPlan),
    *(EnhancePrompt, EncodePrompt, EncodeVideo, EncodeAudio, ClipSize),
    *(EmptyAVLatent, JoinAV, SplitAV, UpscaleLatent),
    *(ConditionImage, ConditionReference, ConditionSlots, ConditionInpaint, ConditionRetake, TimeMask),
    *(GivenAudio, GivenVideo, FreezeStream, ReferenceVoice),
    *(Schedule, DistilledSchedule, NamedSchedule, SchedulePart),
    *(
        Noise,
        NextNoise,
        Sampler,
        SteadySteps,
        ScaleSteps,
        StreamGuidance,
        MultimodalGuider,
        PresetGuider,
        NegativePrompt,
    ),
    *(Sample, SampleStage, Recipe),
    *(TiledGuider, FittingTiledGuider, SampleTiles, MaskRule, StepPreview, RecordAttention),
    *(EncodePrompts, SampleLong, SampleLooping),
    *(ShotList, ShotTable, SampleShots, ShotsToFile, ShotLatent),
    *(StillClip, PadClip, CropClip, OutpaintClip, InpaintClip, CompositeClip),
    *(RenderCanvas, RenderTile, RenderKeyframes, StitchTiles, TrimVideo, TrimAudio),
    *(DecodeVideo, DecodeAudio, DecodeKeyframes, DecodeToFile, ShowAttention),
    *(SaveAV, SaveAudio, SaveFrames, SaveIntermediates),
    *(LoadEXR, LightToCodes, CodesToLight, PreviewHDR),
]
