"""What a LoRA is trained from and how: one TOML file -> one frozen object; every mistake in it is one line."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from ...given_text import quoted
from ...samplers.conditioning import ReferenceFactors, reference_size
from ...samplers.shapes import SCALE, nearest_frames, nearest_size

STRATEGIES = {"t2v": 0.0, "i2v": 1.0, "v2v": 0.0}  # and how often each is given the first frame, unless told otherwise
PRECISIONS = ("bfloat16", "float32")
TIMESTEPS = ("uniform", "shifted_logit_normal")
SCHEDULES = ("ltx2", "even")
ATTENTION = ("*.to_q", "*.to_k", "*.to_v", "*.to_out.0")
Section = TypeVar("Section")


@dataclass(frozen=True, kw_only=True)
class ModelFiles:
    """The model; what is not named lies inside the checkpoint. For LTX-2.5 `checkpoint` is the transformer's file."""

    checkpoint: Path
    text_encoder: Path | None = None
    video_vae: Path | None = None
    audio_vae: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Data:
    """Clips with captions, and what is cut of them: pixels, frames, frames a second; references: of the same names."""

    folder: Path
    references: Path | None = None
    width: int
    height: int
    frames: int
    fps: float = 24.0
    audio: bool = True

    def __post_init__(self) -> None:
        for name in ("width", "height"):
            pixels = getattr(self, name)
            if pixels < 1 or pixels % SCALE.space:
                expect(f"data.{name}", f"a multiple of {SCALE.space}", f"{pixels}; use {nearest_size(max(pixels, 1))}")
        if self.frames < 1 or self.frames % SCALE.time != 1:
            expect("data.frames", "8k+1 (1, 9, 17 …)", f"{self.frames}; use {nearest_frames(self.frames)}")
        if not 0 < self.fps <= 240:
            expect("data.fps", "more than 0 and at most 240 frames a second", f"{self.fps:g}")


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """alpha: the update is multiplied by alpha / rank; None: rank. targets: names of linear layers, `*` for anything.

    first_frame: share of steps in which the first frame is given. reference_*: factors of an IC-LoRA's reference.
    """

    rank: int = 32
    alpha: float | None = None
    targets: tuple[str, ...] = ATTENTION
    strategy: str = "t2v"
    first_frame: float | None = None
    reference_downscale: int = 1
    reference_temporal: int = 1
    save_as: str = "bfloat16"

    def __post_init__(self) -> None:
        at_least("lora", self, rank=1, reference_downscale=1, reference_temporal=1)
        one_of("lora.strategy", self.strategy, STRATEGIES)
        one_of("lora.save_as", self.save_as, PRECISIONS)
        share("lora.first_frame", self.first_frame_share)
        if self.alpha is not None and not self.alpha > 0:
            expect("lora.alpha", "a number above 0", f"{self.alpha:g}")
        if self.strategy != "v2v" and self.factors != ReferenceFactors():
            expect("lora.strategy", "'v2v' where factors of a reference are given", repr(self.strategy))

    @property
    def scale(self) -> float:
        return 1.0 if self.alpha is None else self.alpha / self.rank

    @property
    def factors(self) -> ReferenceFactors:
        return ReferenceFactors(space=self.reference_downscale, time=self.reference_temporal)

    @property
    def first_frame_share(self) -> float:
        return STRATEGIES[self.strategy] if self.first_frame is None else self.first_frame


@dataclass(frozen=True, kw_only=True)
class Training:
    """precision: of activations and plain base weights; adapters and the optimiser are float32 always.

    accumulate: batches whose gradients make one step. timesteps: how noise levels are drawn. save_every: steps from one
    file to go on from to the next. hold: share of the steps before the rate falls.
    """

    learning_rate: float = 1e-4
    steps: int = 2000
    batch: int = 1
    accumulate: int = 1
    precision: str = "bfloat16"
    timesteps: str = "uniform"
    caption_dropout: float = 0.1
    checkpointing: bool = True
    hold: float = 0.6
    seed: int = 0
    save_every: int = 250
    device: str = ""

    def __post_init__(self) -> None:
        at_least("training", self, steps=1, batch=1, accumulate=1, save_every=1, seed=0)
        one_of("training.precision", self.precision, PRECISIONS)
        one_of("training.timesteps", self.timesteps, TIMESTEPS)
        share("training.caption_dropout", self.caption_dropout)
        share("training.hold", self.hold)
        if not 0 < self.learning_rate < 1:
            expect("training.learning_rate", "a number between 0 and 1", f"{self.learning_rate:g}")


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Clips that are made while it trains, every so many steps (0: none), of the data's size.

    count: clips of the data whose caption, first frame and reference are used; prompts: texts to use instead (t2v).
    schedule: "ltx2", or "even" steps for the embedded tiny model.
    """

    every: int = 0
    count: int = 2
    prompts: tuple[str, ...] = ()
    steps: int = 20
    guidance: float = 3.0
    schedule: str = "ltx2"
    seed: int = 10

    def __post_init__(self) -> None:
        at_least("samples", self, every=0, count=1, steps=1, seed=0)
        one_of("samples.schedule", self.schedule, SCHEDULES)


@dataclass(frozen=True, kw_only=True)
class LoraConfig:
    """The whole file. output: a folder for the LoRA, its state, the cache and the samples."""

    output: Path
    model: ModelFiles
    data: Data
    lora: Adapter = field(default_factory=Adapter)
    training: Training = field(default_factory=Training)
    samples: Samples = field(default_factory=Samples)

    def __post_init__(self) -> None:
        if (self.lora.strategy == "v2v") != (self.data.references is not None):
            expect(
                "data.references",
                "a folder with reference clips for the strategy 'v2v', and for no other",
                f"{self.data.references or 'none'} with {self.lora.strategy!r}",
            )
        if self.samples.prompts and self.lora.strategy != "t2v":
            expect("samples.prompts", "none for i2v and v2v, which sample from clips of the data", "some; use count")
        for pixels in reference_size(self.data.height, self.data.width, self.lora.factors):
            if pixels % SCALE.space:
                multiple = SCALE.space * self.lora.factors.space
                size = f"{self.data.width}x{self.data.height}"
                expect("data.width, data.height", f"multiples of {multiple} for this reference_downscale", size)


def read_config(path: Path) -> LoraConfig:
    """Paths in it count from its own folder. ValueError, one line, for whatever is wrong with it."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: expected a TOML file, it cannot be read ({error})") from error
    return config_of(parse_toml(text, str(path)), name=path.name, folder=path.parent)


def parse_toml(text: str, name: str) -> dict[str, Any]:
    """The tables of a text; ValueError, one line that begins with `name`, for what is no TOML."""
    if sys.version_info >= (3, 11):  # here: an old Python without tomli can still do everything else
        import tomllib
    else:
        import tomli as tomllib
    try:
        tables: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{name}: expected TOML, found a mistake: {error}") from error
    return tables


def config_of(tables: Mapping[str, Any], *, name: str, folder: Path) -> LoraConfig:
    """From parsed tables. name: for messages; folder: where relative paths begin. ValueError as `read_config`."""
    try:
        return _section(LoraConfig, tables, "", folder)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _section(kind: type[Section], values: Mapping[str, Any], where: str, folder: Path) -> Section:
    hints: dict[str, Any] = get_type_hints(kind)
    for key in values:
        if key not in hints:
            near = get_close_matches(key, hints, n=1, cutoff=0.0)[0]
            raise ValueError(f"{where}{quoted(key)[1:-1]}: no such key; the nearest is {where}{near}")
    missing = [f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING]  # type: ignore[arg-type]
    for key in missing:
        if key not in values:
            raise ValueError(f"{where}{key}: expected a value, found none; add it")
    return kind(**{key: _value(hints[key], value, f"{where}{key}", folder) for key, value in values.items()})


def _value(kind: Any, value: Any, where: str, folder: Path) -> Any:
    optional = isinstance(kind, UnionType)
    if optional:
        kind = next(option for option in get_args(kind) if option is not type(None))
    if get_origin(kind) is tuple:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            expect(where, "a list of texts", quoted(value))
        return tuple(value)
    if kind is Path:
        return _path(value, where, folder, optional=optional)
    if kind in (int, float, bool, str):
        numbers = (int, float) if kind is float else (kind,)
        if not isinstance(value, numbers) or (isinstance(value, bool) and kind is not bool):
            names = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
            expect(where, names[kind], quoted(value))
        return kind(value)
    if not isinstance(value, Mapping):
        expect(where, f"a table [{where}]", quoted(value))
    return _section(kind, value, f"{where}.", folder)


def _path(value: Any, where: str, folder: Path, *, optional: bool) -> Path | None:
    """An empty text is no path, where there need not be one."""
    if not isinstance(value, str) or not (value or optional):
        expect(where, "a path as a text", quoted(value))
    return (folder / Path(value).expanduser()).resolve() if value else None


def expect(where: str, expected: str, found: str) -> None:
    raise ValueError(f"{where}: expected {expected}, found {found}")


def at_least(where: str, section: object, **lowest: int) -> None:
    for name, least in lowest.items():
        if getattr(section, name) < least:
            expect(f"{where}.{name}", f"at least {least}", str(getattr(section, name)))


def one_of(where: str, value: str, options: Any) -> None:
    if value not in options:
        expect(where, " or ".join(map(repr, options)), quoted(value))


def share(where: str, value: float) -> None:
    if not 0 <= value <= 1:
        expect(where, "a share from 0 to 1", f"{value:g}")
