"""The part of ComfyUI's node API (V3 schema) that our nodes use, as classes of our own.

This file is the written definition of what a node may say about itself; `info.py` turns it into what ComfyUI's
interface reads, and a contract test holds both equal. Source: packaging.md 3.2 and 3.3, comfyui_host.md 1.2 and 1.3.
No torch here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from enum import Enum
from typing import Any, ClassVar


class FolderType(str, Enum):
    """Where a saved file lies."""

    input = "input"
    output = "output"
    temp = "temp"


class UploadType(str, Enum):
    """Which upload button a combo of file names gets."""

    image = "image_upload"
    audio = "audio_upload"
    video = "video_upload"
    model = "file_upload"


class Hidden(str, Enum):
    """Values that a node may ask of its host instead of the user."""

    unique_id = "UNIQUE_ID"
    prompt = "PROMPT"
    extra_pnginfo = "EXTRA_PNGINFO"


@dataclass(frozen=True)
class HiddenHolder:
    """The hidden values of one call; None where the node did not ask."""

    _: KW_ONLY
    unique_id: str | None = None
    prompt: dict[str, Any] | None = None
    extra_pnginfo: dict[str, Any] | None = None


@dataclass
class BaseInput:
    """An input socket. `id` is the argument name of `execute`. An optional input needs a default in `execute`."""

    io_type: ClassVar[str]
    id: str
    _: KW_ONLY
    display_name: str | None = None
    optional: bool = False
    tooltip: str | None = None


@dataclass
class StaticInput(BaseInput):
    """An input that is one entry of a workflow; `advanced` ones are folded away in the form."""

    _: KW_ONLY
    advanced: bool | None = None


@dataclass
class WidgetInput(StaticInput):
    """An input with a form field. `default` is for the form only: a workflow must name every required value."""

    _: KW_ONLY
    default: Any = None
    force_input: bool | None = None


@dataclass
class BaseOutput:
    """An output socket; without `display_name` it shows its `id`, without both its type."""

    io_type: ClassVar[str]
    id: str | None = None
    _: KW_ONLY
    display_name: str | None = None
    tooltip: str | None = None


class WireType:
    """A type on the wires: `class Name(WireType, io_type="NAME")`; its nested Input and Output learn that name."""

    io_type: ClassVar[str]

    def __init_subclass__(cls, *, io_type: str | None = None) -> None:
        if io_type is None:
            return
        cls.io_type = io_type
        for side in ("Input", "Output"):
            nested = getattr(cls, side, None)
            if nested is not None:
                setattr(cls, side, type(side, (nested,), {"io_type": io_type, "__module__": cls.__module__}))


class Socket(WireType):
    """A wire type without a form field."""

    class Input(StaticInput): ...

    class Output(BaseOutput): ...


def Custom(io_type: str) -> type[Socket]:  # noqa: N802 (the name that ComfyUI's API has)
    """A wire type of our own. The name may never change once workflows use it."""
    return type(io_type, (Socket,), {}, io_type=io_type)


class Model(Socket, io_type="MODEL"): ...


class Clip(Socket, io_type="CLIP"): ...


class Vae(Socket, io_type="VAE"): ...


class Conditioning(Socket, io_type="CONDITIONING"): ...


class Latent(Socket, io_type="LATENT"): ...


class Noise(Socket, io_type="NOISE"): ...


class Guider(Socket, io_type="GUIDER"): ...


class Sampler(Socket, io_type="SAMPLER"): ...


class Sigmas(Socket, io_type="SIGMAS"): ...


class Image(Socket, io_type="IMAGE"): ...


class Mask(Socket, io_type="MASK"): ...


class Audio(Socket, io_type="AUDIO"): ...


class Video(Socket, io_type="VIDEO"): ...


class LatentUpscaleModel(Socket, io_type="LATENT_UPSCALE_MODEL"): ...


class ModelPatch(Socket, io_type="MODEL_PATCH"): ...


class AnyType(Socket, io_type="*"): ...


class Int(WireType, io_type="INT"):
    """Whole number."""

    @dataclass
    class Input(WidgetInput):
        _: KW_ONLY
        default: int | None = None
        min: int | None = None
        max: int | None = None
        step: int | None = None
        control_after_generate: bool | None = None

    class Output(BaseOutput): ...


class Float(WireType, io_type="FLOAT"):
    """Real number."""

    @dataclass
    class Input(WidgetInput):
        _: KW_ONLY
        default: float | None = None
        min: float | None = None
        max: float | None = None
        step: float | None = None
        round: float | None = None

    class Output(BaseOutput): ...


class String(WireType, io_type="STRING"):
    """Text."""

    @dataclass
    class Input(WidgetInput):
        _: KW_ONLY
        default: str | None = None
        multiline: bool = False

    class Output(BaseOutput): ...


class Boolean(WireType, io_type="BOOLEAN"):
    """Yes or no."""

    @dataclass
    class Input(WidgetInput):
        _: KW_ONLY
        default: bool | None = None

    class Output(BaseOutput): ...


class Combo(WireType, io_type="COMBO"):
    """One of a list of texts or numbers."""

    @dataclass
    class Input(StaticInput):
        options: Sequence[str] | Sequence[int]
        _: KW_ONLY
        default: str | int | None = None
        control_after_generate: bool | None = None
        upload: UploadType | None = None

    class Output(BaseOutput): ...


@dataclass
class DynamicInput(BaseInput):
    """An input that stands for several entries of a workflow; `inputs.py` unfolds it."""


class DynamicCombo(WireType, io_type="COMFY_DYNAMICCOMBO_V3"):
    """A choice with inputs of its own per option.

    `execute` receives {"<id>": key, "<sub input>": value, …}; an optional sub-input without a value is None there.
    """

    @dataclass
    class Option:
        key: str
        inputs: Sequence[BaseInput]

    @dataclass
    class Input(DynamicInput):
        options: list[DynamicCombo.Option]


class Autogrow(WireType, io_type="COMFY_AUTOGROW_V3"):
    """A socket that multiplies as it is used. `execute` receives {"<name>": value, …} with the linked ones."""

    class TemplatePrefix:
        """Sockets `<prefix>0 … <prefix>max-1` like `input`, of which the first `min` are required."""

        def __init__(self, input: BaseInput, prefix: str, min: int = 1, max: int = 10) -> None:
            assert not isinstance(input, (DynamicInput, Combo.Input)), "an Autogrow template is a plain socket"
            assert min >= 0, "an Autogrow template cannot require a negative number of sockets"
            assert 1 <= max <= 100, "an Autogrow template has 1 to 100 sockets"
            self.input = replace(input, force_input=True) if isinstance(input, WidgetInput) else input
            self.prefix, self.min, self.max = prefix, min, max

        @property
        def names(self) -> list[str]:
            return [f"{self.prefix}{index}" for index in range(self.max)]

    class TemplateNames:
        """Sockets with these names like `input`, of which the first `min` are required."""

        def __init__(self, input: BaseInput, names: list[str], min: int = 1) -> None:
            self.input, self.names, self.min = input, names, min

    @dataclass
    class Input(DynamicInput):
        template: Autogrow.TemplatePrefix | Autogrow.TemplateNames


@dataclass(kw_only=True)
class Schema:
    """What a node is: its id, its sockets, how the host treats it. `define_schema` is called often: keep it cheap."""

    node_id: str
    display_name: str | None = None
    category: str = "sd"
    inputs: Sequence[BaseInput] = ()
    outputs: Sequence[BaseOutput] = ()
    hidden: list[Hidden] = field(default_factory=list)
    description: str = ""
    search_aliases: list[str] = field(default_factory=list)
    is_output_node: bool = False
    is_deprecated: bool = False
    is_experimental: bool = False
    not_idempotent: bool = False


class UIOutput:
    """Something for the user interface; `as_dict` is JSON-able."""

    def as_dict(self) -> dict[str, Any]:
        raise NotImplementedError


class NodeOutput:
    """The results of a node in the order of its outputs, and what the interface shows of it."""

    def __init__(self, *args: Any, ui: UIOutput | dict[str, Any] | None = None) -> None:
        self.args = args
        self.ui = ui


class ComfyNode:
    """Base of all nodes. Never instantiated, and without state: every call sees a locked throw-away subclass."""

    hidden: ClassVar[HiddenHolder] = HiddenHolder()

    @classmethod
    def define_schema(cls) -> Schema:
        """The node's schema."""
        raise NotImplementedError

    @classmethod
    def execute(cls, *args: Any, **kwargs: Any) -> Any:
        """The node's work: a NodeOutput, a tuple, {"result", "ui"}, or None if it has no outputs. May be async."""
        raise NotImplementedError

    @classmethod
    def validate_inputs(cls, *args: Any, **kwargs: Any) -> bool | str:
        """Optional check of the inputs that the override names (links arrive as None): True, or what is wrong."""
        raise NotImplementedError

    @classmethod
    def fingerprint_inputs(cls, *args: Any, **kwargs: Any) -> Any:
        """Optional value that changes when equal inputs give another result, such as a file's modification time."""
        raise NotImplementedError
