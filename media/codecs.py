"""What a file can be written as: containers, video and audio codecs, and the choices that go together.

Colour: SDR is tagged BT.709 throughout (the official writer leaves primaries and transfer unsaid, spec media_io.md
3.1, and players then guess); the HLG master carries the tags of spec 5.4.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import av.codec

from ..extensions import added

AUTO = "auto"
PixelKind = Literal["yuv420", "yuv420_10", "yuv422_10", "hlg", "rgb", "palette"]


@dataclass(frozen=True, kw_only=True)
class ColourTags:
    """Numbers of ISO/IEC 23091-2, and FFmpeg's range: 1 limited, 2 full."""

    primaries: int
    transfer: int
    matrix: int
    range: int


SDR_TAGS = ColourTags(primaries=1, transfer=1, matrix=1, range=1)
HLG_TAGS = ColourTags(primaries=9, transfer=18, matrix=9, range=1)
RGB_TAGS = ColourTags(primaries=1, transfer=13, matrix=0, range=2)


@dataclass(frozen=True, kw_only=True)
class VideoCodec:
    """A video encoder: the pixels that it takes, and its options.

    quality: the name of the option that trades size for quality, its default and its limits; None where there is
    none. at_zero: options at quality 0, where that is to lose nothing and the encoder would still round. `hardware`
    encoders are used only when asked for by name, and only where the machine has them (hardware.py).
    """

    name: str
    encoder: str
    pixel_format: str
    pixels: PixelKind
    tags: ColourTags | None = SDR_TAGS
    quality: tuple[str, int, int, int] | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    at_zero: Mapping[str, str] = field(default_factory=dict)
    quality_unit: str = ""  # what the figure is multiplied by, in FFmpeg's spelling
    hardware: bool = False

    def encoder_options(self, quality: int | None) -> dict[str, str]:
        """Options for this quality (None: the default). Raises ValueError for a number that the codec cannot take."""
        if self.quality is None:
            if quality is not None:
                raise ValueError(f"quality: {self.name} has no such setting; leave it at the default")
            return dict(self.options)
        option, default, low, high = self.quality
        if quality is not None and not low <= quality <= high:
            raise ValueError(f"quality: expected {low} to {high} for {self.name}, found {quality}")
        chosen = default if quality is None else quality
        return {**self.options, option: f"{chosen}{self.quality_unit}", **(self.at_zero if chosen == 0 else {})}


@dataclass(frozen=True, kw_only=True)
class AudioCodec:
    """A sound encoder, fed with 16-bit samples. `rates`: the sample rates that it takes; None for all."""

    name: str
    encoder: str
    rates: tuple[int, ...] | None = None
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ContainerKind:
    """A kind of file: FFmpeg's name and what it holds. The first of `video` and of `audio` is the default.

    `texts`: how it carries texts: by name, as JSON in its one comment, or put in after the mux (late_texts.py).
    """

    format: str
    video: tuple[str, ...] = ()
    audio: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    texts: Literal["named", "comment", "late"] = "named"


def worker_threads() -> int:
    """Threads of an encoder: every one holds frames, and beyond 16 they gain nothing at video sizes."""
    return min(os.cpu_count() or 1, 16)


_X265_LOG = "log-level=error"
_HLG_X265 = (
    "colorprim=bt2020:transfer=arib-std-b67:colormatrix=bt2020nc:range=limited:repeat-headers=1:info=0:"
    f"pools={worker_threads()}:frame-threads={min(4, worker_threads())}:{_X265_LOG}"
)
_LOSSLESS = "lossless=1"  # with 10 bits crf 0 is a quantiser of 2.5 codes
_NVENC = {"preset": "p5", "rc": "vbr", "b": "0"}

VIDEO_CODECS = {
    codec.name: codec
    for codec in (
        VideoCodec(
            name="h264", encoder="libx264", pixel_format="yuv420p", pixels="yuv420",
            quality=("crf", 19, 0, 51), options={"preset": "veryfast"},
        ),
        VideoCodec(
            name="h265", encoder="libx265", pixel_format="yuv420p10le", pixels="yuv420_10",
            quality=("crf", 20, 0, 51), options={"preset": "fast", "x265-params": _X265_LOG},
            at_zero={"x265-params": f"{_X265_LOG}:{_LOSSLESS}"},
        ),
        VideoCodec(
            name="h265_hlg", encoder="libx265", pixel_format="yuv420p10le", pixels="hlg", tags=HLG_TAGS,
            quality=("crf", 12, 0, 51), options={"preset": "ultrafast", "x265-params": _HLG_X265},
            at_zero={"x265-params": f"{_HLG_X265}:{_LOSSLESS}"},
        ),
        VideoCodec(
            name="av1", encoder="libsvtav1", pixel_format="yuv420p10le", pixels="yuv420_10",
            quality=("crf", 28, 1, 63), options={"preset": "8"},
        ),
        VideoCodec(
            name="vp9", encoder="libvpx-vp9", pixel_format="yuv420p", pixels="yuv420",
            quality=("crf", 24, 0, 63), options={"b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1"},
        ),
        VideoCodec(
            name="prores", encoder="prores_ks", pixel_format="yuv422p10le", pixels="yuv422_10",
            options={"profile": "hq", "vendor": "apl0"},
        ),
        VideoCodec(
            name="ffv1", encoder="ffv1", pixel_format="bgr0", pixels="rgb", tags=RGB_TAGS,
            options={"level": "3", "slicecrc": "1"},
        ),
        VideoCodec(name="gif", encoder="gif", pixel_format="pal8", pixels="palette", tags=None),
        VideoCodec(
            name="webp", encoder="libwebp_anim", pixel_format="bgra", pixels="rgb", tags=None,
            quality=("quality", 85, 0, 100),
        ),
        VideoCodec(
            name="h264_nvenc", encoder="h264_nvenc", pixel_format="yuv420p", pixels="yuv420",
            quality=("cq", 19, 0, 51), options=_NVENC, hardware=True,
        ),
        VideoCodec(
            name="h265_nvenc", encoder="hevc_nvenc", pixel_format="yuv420p", pixels="yuv420",
            quality=("cq", 20, 0, 51), options=_NVENC, hardware=True,
        ),
        VideoCodec(
            name="av1_nvenc", encoder="av1_nvenc", pixel_format="yuv420p", pixels="yuv420",
            quality=("cq", 28, 0, 63), options=_NVENC, hardware=True,
        ),
        *(
            VideoCodec(
                name=f"{name}_qsv", encoder=f"{encoder}_qsv", pixel_format="nv12", pixels="yuv420",
                quality=("global_quality", default, 1, 51), hardware=True,
            )
            for name, encoder, default in (("h264", "h264", 20), ("h265", "hevc", 21), ("av1", "av1", 28))
        ),
        *(
            VideoCodec(
                name=f"{name}_amf", encoder=f"{encoder}_amf", pixel_format="yuv420p", pixels="yuv420",
                options={"quality": "quality"}, hardware=True,
            )
            for name, encoder in (("h264", "h264"), ("h265", "hevc"), ("av1", "av1"))
        ),
        *(
            VideoCodec(
                name=f"{name}_videotoolbox", encoder=f"{encoder}_videotoolbox", pixel_format="yuv420p",
                pixels="yuv420", quality=("global_quality", 65, 1, 100), quality_unit="*QP2LAMBDA",
                options={"flags": "+qscale"}, hardware=True,
            )
            for name, encoder in (("h264", "h264"), ("h265", "hevc"))
        ),
    )
}  # fmt: skip

AUDIO_CODECS = {
    codec.name: codec
    for codec in (
        AudioCodec(
            name="aac",
            encoder="aac",
            rates=(96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350),
        ),
        AudioCodec(name="opus", encoder="libopus", rates=(48000, 24000, 16000, 12000, 8000), options={"b": "160000"}),
        AudioCodec(name="flac", encoder="flac"),
        AudioCodec(name="pcm", encoder="pcm_s16le"),
    )
}

_HARDWARE = tuple(codec.name for codec in VIDEO_CODECS.values() if codec.hardware)
_HARDWARE_AV1 = tuple(name for name in _HARDWARE if name.startswith("av1"))
_LOSSY = ("h264", "h265", "h265_hlg", "av1", "vp9", *_HARDWARE)
_TAGGED_MP4 = {"movflags": "use_metadata_tags+faststart"}

CONTAINERS = {
    ".mp4": ContainerKind(format="mp4", video=_LOSSY, audio=("aac", "opus", "flac"), options=_TAGGED_MP4),
    ".mov": ContainerKind(
        format="mov",
        video=("h264", "h265", "h265_hlg", "prores", *(name for name in _HARDWARE if name not in _HARDWARE_AV1)),
        audio=("aac", "pcm"),
        options=_TAGGED_MP4,
    ),
    ".mkv": ContainerKind(format="matroska", video=(*_LOSSY, "prores", "ffv1"), audio=("aac", "opus", "flac", "pcm")),
    ".webm": ContainerKind(format="webm", video=("vp9", "av1", *_HARDWARE_AV1), audio=("opus",)),
    ".gif": ContainerKind(format="gif", video=("gif",), options={"loop": "0"}, texts="late"),
    ".webp": ContainerKind(format="webp", video=("webp",), options={"loop": "0"}, texts="late"),
}
AUDIO_CONTAINERS = {
    ".wav": ContainerKind(format="wav", audio=("pcm",), texts="comment"),
    ".flac": ContainerKind(format="flac", audio=("flac",)),
    ".opus": ContainerKind(format="opus", audio=("opus",)),
    ".m4a": ContainerKind(format="ipod", audio=("aac",), options=_TAGGED_MP4),
}


def containers() -> dict[str, ContainerKind]:
    """CONTAINERS by suffix, and what other packs and scripts added."""
    others = added("containers", beside=CONTAINERS)
    return CONTAINERS | {suffix: ContainerKind(**fields) for suffix, fields in others.items()}


def video_codec(name: str, suffix: str) -> VideoCodec:
    """The codec of this name ("auto": the container's own). Raises ValueError for pairs that do not go together."""
    kind = containers()[suffix]
    return VIDEO_CODECS[_chosen(name, kind.video, f"video codec of {suffix} files")]


def audio_codec(name: str, suffix: str, sample_rate: int) -> AudioCodec:
    """As `video_codec`; also for audio files. Raises ValueError for a sample rate that the codec cannot take, too."""
    kind = (containers() | AUDIO_CONTAINERS)[suffix]
    if not kind.audio:
        raise ValueError(f"{suffix} files hold no sound; leave it away or choose another container")
    codec = AUDIO_CODECS[_chosen(name, kind.audio, f"audio codec of {suffix} files")]
    if codec.rates is not None and sample_rate not in codec.rates:
        rates = ", ".join(map(str, sorted(codec.rates)))
        raise ValueError(f"sample rate: expected one of {rates} for {codec.name}, found {sample_rate}; choose flac")
    return codec


def check_present(encoder: str) -> None:
    """Raises ValueError where this build of FFmpeg lacks the encoder."""
    try:
        av.codec.Codec(encoder, "w")
    except ValueError as error:  # PyAV's UnknownCodecError is one
        raise ValueError(f"{encoder}: this build of PyAV has no such encoder; choose another codec") from error


def _chosen(name: str, known: tuple[str, ...], what: str) -> str:
    if name == AUTO:
        return known[0]
    if name not in known:
        raise ValueError(f"{what}: expected {AUTO} or one of {', '.join(known)}, found {name}")
    return name
