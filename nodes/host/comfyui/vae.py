"""VAE in ComfyUI: our video and audio VAEs for its encode and decode nodes (comfyui_host.md 3.5).

They are loaded whole: their layers are torch's own, which ComfyUI cannot page, and small beside the transformer.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, cached_property, partial
from typing import Any, TypeVar

import comfy.model_management
import comfy.model_patcher
import comfy.sd
import torch
from torch import Tensor, nn

from ....model_loaders.parts import AUDIO_BINS, AudioPart, Lazy, Movable, VideoPart
from ....networks.audio_vae import decode_audio, encode_audio
from ....networks.video_vae.memory import planned_decode_bytes, planned_encode_bytes
from ....samplers.shapes import SCALE, audio_latent_frames, pixel_frames
from .runtime import check_interrupted

Stage = TypeVar("Stage", bound=Movable)
Network = TypeVar("Network", bound=nn.Module)
AUDIO_BYTES = 2**20  # a latent frame of sound, with all that the vocoder makes of it


class VideoStage(nn.Module):
    """Encoder, decoder and statistics of one video VAE. Frames come and go in pieces, through ComfyUI's buffers."""

    comfy_has_chunked_io = True

    def __init__(self, part: VideoPart) -> None:
        super().__init__()
        self.encoder, self.decoder = _loaded(part.encoder), _loaded(part.decoder)
        self.per_channel_statistics = _loaded(part.statistics)

    def decode_output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Of the frames of latents (B, C, F, H, W): (B, 3, T, height, width)."""
        return shape[0], 3, pixel_frames(shape[2]), shape[3] * SCALE.space, shape[4] * SCALE.space

    def decode(self, z: Tensor, output_buffer: Tensor | None = None, **options: Any) -> Tensor:
        """Latent (B, C, F, H, W) → frames (B, 3, T, height, width) in about -1 … 1, in the buffer if there is one."""
        frames = z.new_empty(self.decode_output_shape(tuple(z.shape))) if output_buffer is None else output_buffer
        done = 0
        for piece in self.decoder.decode_stream(z):
            check_interrupted()
            frames[:, :, done : done + piece.shape[2]].copy_(piece)
            done += piece.shape[2]
        return frames

    def encode(self, x: Tensor, device: torch.device | None = None) -> Tensor:
        """Frames (B, 3, T, height, width) in -1 … 1 → latent; frames beyond 8n+1 are left out, with a warning."""
        latent: Tensor = self.encoder.encode(x if device is None else x.to(device))
        return latent


class AudioStage(nn.Module):
    """Encoder, decoder and vocoder of one audio VAE."""

    latent_frequency_bins = AUDIO_BINS

    def __init__(self, part: AudioPart) -> None:
        super().__init__()
        self.encoder, self.decoder = _loaded(part.encoder), _loaded(part.decoder)
        self.vocoder = _loaded(part.vocoder)

    @property
    def sample_rate(self) -> int:
        """What `encode` expects, in Hz."""
        return self.encoder.config.sampling_rate

    @property
    def output_sample_rate(self) -> int:
        """What `decode` gives, in Hz."""
        return self.vocoder.output_sampling_rate

    def num_of_latents_from_frames(self, frames: int, fps: float) -> int:
        """Latent frames of sound beside so many pictures."""
        return audio_latent_frames(frames, fps)

    def encode(self, waveform: Tensor) -> Tensor:
        """(B, channels, N) → latent (B, C, T, bins)."""
        return encode_audio(self.encoder, waveform, self.sample_rate)

    def decode(self, latent: Tensor, **options: Any) -> Tensor:
        """Latent (B, C, T, bins) → stereo (B, 2, N)."""
        return decode_audio(self.decoder, self.vocoder, latent)[0]


class NativeVAE(comfy.sd.VAE):  # type: ignore[misc]  # ComfyUI is absent when types are checked
    """What both kinds share. Read from the file when something is first asked of it."""

    def __init__(self, build: Callable[[], nn.Module], dtype: torch.dtype) -> None:
        manager = comfy.model_management
        self.__dict__.update({key: value for key, value in _defaults().items() if not hasattr(type(self), key)})
        self._build, self.vae_dtype = build, dtype
        self.own: VideoPart | AudioPart | None = None
        self.device, self.output_device = manager.vae_device(), manager.intermediate_device()
        self.working_dtypes = [dtype]
        self.size = self.extra_1d_channel = None
        self.not_video, self.disable_offload = False, True  # loaded whole

    @cached_property
    def first_stage_model(self) -> Any:
        stage = self._build().eval().requires_grad_(False)
        comfy.model_management.archive_model_dtypes(stage)
        return stage

    @cached_property
    def patcher(self) -> Any:
        """Not the paging kind."""
        offload = comfy.model_management.vae_offload_device()
        return comfy.model_patcher.ModelPatcher(self.first_stage_model, load_device=self.device, offload_device=offload)

    def is_dynamic(self) -> bool:
        """Asked of cached outputs by newer hosts."""
        return False


class NativeVideoVAE(NativeVAE):
    """Frames ↔ video latents at the scale of the transformer."""

    def __init__(self, part: VideoPart) -> None:
        super().__init__(partial(VideoStage, part), part.decoder.dtype)
        self.part, self.pad_channel_value = part, None
        space = SCALE.space
        self.latent_dim, self.output_channels, self.crop_input = 3, 3, True
        self.downscale_ratio = (lambda frames: (frames - 1) // SCALE.time + 1, space, space)
        self.upscale_ratio = (pixel_frames, space, space)
        self.downscale_index_formula = self.upscale_index_formula = (SCALE.time, space, space)
        self.process_input = lambda image: image * 2.0 - 1.0
        self.process_output = lambda image: image.add_(1.0).div_(2.0).clamp_(0.0, 1.0)
        self.audio_sample_rate = 0

    @property
    def latent_channels(self) -> int:
        """C of a video latent."""
        return int(self.first_stage_model.decoder.config.latent_channels)

    def memory_used_decode(self, shape: tuple[int, ...], dtype: torch.dtype) -> float:
        """Bytes beside weights and frames; the length of the clip does not matter."""
        return planned_decode_bytes(torch.empty(shape, device="meta"), dtype)

    def memory_used_encode(self, shape: tuple[int, ...], dtype: torch.dtype) -> float:
        """Bytes beside weights and latent, with the frames that are copied to the device."""
        return planned_encode_bytes(torch.empty(shape, device="meta", dtype=dtype), dtype)


class NativeAudioVAE(NativeVAE):
    """Sound ↔ audio latents. ComfyUI resamples to `audio_sample_rate` before it asks."""

    def __init__(self, part: AudioPart) -> None:
        super().__init__(partial(AudioStage, part), part.decoder.dtype)
        self.part = part
        self.latent_dim, self.output_channels, self.crop_input = 2, 2, False
        self.pad_channel_value = "replicate"  # mono
        self.downscale_ratio = self.upscale_ratio = 1
        self.downscale_index_formula = self.upscale_index_formula = None
        self.process_input = self.process_output = lambda sound: sound

    @property
    def latent_channels(self) -> int:
        """C of an audio latent."""
        return int(self.first_stage_model.decoder.config.latent_channels)

    @property
    def audio_sample_rate(self) -> int:
        """Hz that encoding expects."""
        return int(self.first_stage_model.sample_rate)

    @property
    def audio_sample_rate_output(self) -> int:
        """Hz of decoded sound."""
        return int(self.first_stage_model.output_sample_rate)

    def memory_used_decode(self, shape: tuple[int, ...], dtype: torch.dtype) -> float:
        return float(shape[0] * shape[2] * AUDIO_BYTES)

    def memory_used_encode(self, shape: tuple[int, ...], dtype: torch.dtype) -> float:
        return float(shape[0] * shape[-1] * AUDIO_BYTES / self.audio_sample_rate * 25)

    def decode_tiled(self, samples: Tensor, **tiles: Any) -> Tensor:
        """In one piece: sound is small."""
        whole: Tensor = self.decode(samples)
        return whole

    def encode_tiled(self, pixel_samples: Tensor, **tiles: Any) -> Tensor:
        whole: Tensor = self.encode(pixel_samples)
        return whole

    def decode_tiled_(self, samples: Tensor, **tiles: Any) -> Tensor:
        """Where ComfyUI falls back on tiles for want of memory."""
        raise RuntimeError("audio VAE: the device has no memory left for the sound; free some, or make a shorter clip")

    encode_tiled_ = decode_tiled_


class InVAE(Lazy[Stage]):
    """One network of a VAE object, for our own nodes."""

    paged = True

    def __init__(self, lazy: Lazy[Stage], vae: NativeVAE, pick: Callable[[Any], Stage]) -> None:
        super().__init__(lazy.source, lazy.dtype)
        self._vae, self._pick = vae, pick

    def on(self, device: torch.device, *, memory: int = 0) -> Stage:
        comfy.model_management.load_models_gpu([self._vae.patcher], memory_required=memory, force_full_load=True)
        return self._pick(self._vae.first_stage_model)

    def _in_dtype(self, dtype: torch.dtype) -> Lazy[Stage]:
        return Patched(self.source, dtype)


class Patched(Lazy[Stage]):
    """A network of a VAE object in a dtype that this object does not have; ComfyUI moves it like any other model."""

    paged = True

    def __init__(self, load: Callable[[], Stage], dtype: torch.dtype) -> None:
        super().__init__(load, dtype)
        self._patcher: Any = None

    def on(self, device: torch.device, *, memory: int = 0) -> Stage:
        manager = comfy.model_management
        if self._patcher is None:
            network: Any = self.source()
            network = network.to(self.dtype).eval().requires_grad_(False)
            manager.archive_model_dtypes(network)
            self._patcher = comfy.model_patcher.ModelPatcher(
                network, load_device=device, offload_device=manager.vae_offload_device()
            )
        manager.load_models_gpu([self._patcher], memory_required=memory, force_full_load=True)
        network_there: Stage = self._patcher.model
        return network_there


@cache
def _defaults() -> Mapping[str, Any]:
    """What this ComfyUI's own methods read of a VAE: newer ones read more. An object without weights has it all."""

    def quiet(record: logging.LogRecord) -> bool:
        return "No VAE weights" not in record.getMessage()

    logger = logging.getLogger()
    logger.addFilter(quiet)
    try:
        return dict(vars(comfy.sd.VAE(sd={})))
    finally:
        logger.removeFilter(quiet)


def _loaded(lazy: Lazy[Network]) -> Network:
    """Read anew, in its own dtype, on the CPU."""
    return lazy.source().to(lazy.dtype)


def native_vae(part: VideoPart | AudioPart) -> NativeVAE:
    """A part → VAE."""
    return NativeVideoVAE(part) if isinstance(part, VideoPart) else NativeAudioVAE(part)


FOREIGN = "ComfyUI's own VAE"


def own_vae(vae: Any, name: str) -> VideoPart | AudioPart:
    """A VAE → our part; ValueError for one that is not ours, and for sound where pictures are wanted.

    name: of the input; those for sound have it in their names.
    """
    wanted = NativeAudioVAE if "audio" in name else NativeVideoVAE
    if not isinstance(vae, wanted):
        kind = "an audio" if wanted is NativeAudioVAE else "a video"
        found = {NativeAudioVAE: "an audio VAE", NativeVideoVAE: "a video VAE"}.get(type(vae), FOREIGN)
        theirs = "LTXVAudioVAEDecode or LTXVAudioVAEEncode" if wanted is NativeAudioVAE else "VAEDecode or VAEEncode"
        advice = f"; load its file with ours, or use {theirs}" if found == FOREIGN else ""
        raise ValueError(f"{name}: expected {kind} VAE from Load LTX Model or Load VAEs (LTX), found {found}{advice}")
    if vae.own is None:  # one for all: what is fitted to a VAE (previews) is kept by these objects
        vae.own = _own_part(vae)
    return vae.own


def _own_part(vae: Any) -> VideoPart | AudioPart:
    part = vae.part
    if isinstance(part, AudioPart):
        return replace(
            part,
            encoder=InVAE(part.encoder, vae, lambda stage: stage.encoder),
            decoder=InVAE(part.decoder, vae, lambda stage: stage.decoder),
            vocoder=InVAE(part.vocoder, vae, lambda stage: stage.vocoder),
        )
    assert isinstance(part, VideoPart)
    return replace(
        part,
        encoder=InVAE(part.encoder, vae, lambda stage: stage.encoder),
        decoder=InVAE(part.decoder, vae, lambda stage: stage.decoder),
        statistics=InVAE(part.statistics, vae, lambda stage: stage.per_channel_statistics),
    )
