"""The published files of the three generations and of their text encoders, and sets of them that work together.

Names, places and sizes: spec page model_files, section 1. Sizes of files that nobody has measured are None.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

GIB = 2**30
LTX_TERMS = "Lightricks' licence for LTX models"
GEMMA_TERMS = "Google's terms for Gemma"
PAGE = "https://huggingface.co/{repository}"
URL = PAGE + "/resolve/main/{path}"


@dataclass(frozen=True, kw_only=True)
class PublishedFile:
    """One file on the hub. path: in its repository; role: the models folder it belongs into.

    bytes: as published, rounded where the spec page has it rounded; None: not known. gated: its page asks for terms to
    be accepted before anything is handed out.
    """

    repository: str
    path: str
    role: str
    bytes: int | None = None
    terms: str = LTX_TERMS
    gated: bool = False

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def stem(self) -> str:
        return self.name.rpartition(".")[0]

    @property
    def page(self) -> str:
        return PAGE.format(repository=self.repository)

    @property
    def url(self) -> str:
        return URL.format(repository=self.repository, path=self.path)


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """Files that make a whole model."""

    name: str
    generation: str
    what: str
    files: tuple[PublishedFile, ...]


def _ltx_2(path: str, role: str, size: int | None) -> PublishedFile:
    return PublishedFile(repository="Lightricks/LTX-2", path=path, role=role, bytes=size)


def _ltx_2_3(path: str, role: str, size: int | None, suffix: str = "") -> PublishedFile:
    return PublishedFile(repository=f"Lightricks/LTX-2.3{suffix}", path=path, role=role, bytes=size)


def _ltx_2_5(path: str, size: int | None) -> PublishedFile:
    role = path.partition("/")[0]
    return PublishedFile(repository="Lightricks/LTX-2.5", path=path, role=role, bytes=size, gated=True)


def _gemma_3(name: str, size: int | None) -> PublishedFile:
    path = f"split_files/text_encoders/{name}"
    return PublishedFile(repository="Comfy-Org/ltx-2", path=path, role="text_encoders", bytes=size, terms=GEMMA_TERMS)


GEMMA_3_BF16 = _gemma_3("gemma_3_12B_it.safetensors", 24_000_000_000)
GEMMA_3_FP4 = _gemma_3("gemma_3_12B_it_fp4_mixed.safetensors", round(8.8 * GIB))
UPSCALER_2 = _ltx_2("ltx-2-spatial-upscaler-x2-1.0.safetensors", "latent_upscale_models", round(0.9273 * GIB))
LORA_2 = _ltx_2("ltx-2-19b-distilled-lora-384.safetensors", "loras", 7_670_000_000)
UPSCALER_2_3 = _ltx_2_3("ltx-2.3-spatial-upscaler-x2-1.1.safetensors", "latent_upscale_models", 995_743_560)
LORA_2_3 = _ltx_2_3("ltx-2.3-22b-distilled-lora-384-1.1.safetensors", "loras", 7_605_507_256)
UPSCALER_2_5 = _ltx_2_5("latent_upscale_models/ltx-2.5-latent-spatial-upscaler-x2-bf16-1.0.safetensors", 995_778_752)
TEMPORAL_2_5 = _ltx_2_5("latent_upscale_models/ltx-2.5-latent-temporal-upscaler-x2-bf16-1.0.safetensors", 261_944_000)
VIDEO_2_5 = _ltx_2_5("vae/ltx-2.5-video-vae-bf16.safetensors", 1_472_223_346)
AUDIO_2_5 = _ltx_2_5("vae/ltx-2.5-audio-vae-bf16.safetensors", 360_000_000)
VAES_2_5 = (VIDEO_2_5, AUDIO_2_5)
GEMMA_4 = _ltx_2_5("text_encoders/gemma4-12b-with-proj-ltx-2.5-bf16.safetensors", 26_260_000_000)
GEMMA_4_INT8 = _ltx_2_5("text_encoders/gemma4-12b-with-proj-ltx-2.5-comfy-int8-convrot.safetensors", None)
LORA_2_5 = _ltx_2_5("loras/ltx-2.5-22b-distilled-lora-450-bf16.safetensors", 8_900_000_000)

BUNDLES = (
    Bundle(
        name="ltx-2-distilled-fp8",
        generation="2",
        what="LTX-2 distilled in fp8, Gemma 3 in fp4, x2 upscaler",
        files=(
            _ltx_2("ltx-2-19b-distilled-fp8.safetensors", "checkpoints", 27_127_589_812),
            GEMMA_3_FP4,
            UPSCALER_2,
        ),
    ),
    Bundle(
        name="ltx-2-dev-fp8",
        generation="2",
        what="LTX-2 dev in fp8, its distilled LoRA, Gemma 3 in fp4, x2 upscaler",
        files=(
            _ltx_2("ltx-2-19b-dev-fp8.safetensors", "checkpoints", round(25.22 * GIB)),
            LORA_2,
            GEMMA_3_FP4,
            UPSCALER_2,
        ),
    ),
    Bundle(
        name="ltx-2.3-distilled-fp8",
        generation="2.3",
        what="LTX-2.3 distilled in fp8, Gemma 3 in fp4, x2 upscaler",
        files=(
            _ltx_2_3("ltx-2.3-22b-distilled-fp8.safetensors", "checkpoints", round(27.5 * GIB), "-fp8"),
            GEMMA_3_FP4,
            UPSCALER_2_3,
        ),
    ),
    Bundle(
        name="ltx-2.3-dev-fp8",
        generation="2.3",
        what="LTX-2.3 dev in fp8, its distilled LoRA, Gemma 3 in fp4, x2 upscaler",
        files=(
            _ltx_2_3("ltx-2.3-22b-dev-fp8.safetensors", "checkpoints", round(27.14 * GIB), "-fp8"),
            LORA_2_3,
            GEMMA_3_FP4,
            UPSCALER_2_3,
        ),
    ),
    Bundle(
        name="ltx-2.3-distilled",
        generation="2.3",
        what="LTX-2.3 distilled and Gemma 3 in bf16, x2 upscaler",
        files=(
            _ltx_2_3("ltx-2.3-22b-distilled-1.1.safetensors", "checkpoints", 46_149_345_334),
            GEMMA_3_BF16,
            UPSCALER_2_3,
        ),
    ),
    Bundle(
        name="ltx-2.3-dev",
        generation="2.3",
        what="LTX-2.3 dev and Gemma 3 in bf16, the distilled LoRA, x2 upscaler",
        files=(
            _ltx_2_3("ltx-2.3-22b-dev.safetensors", "checkpoints", 46_100_000_000),
            LORA_2_3,
            GEMMA_3_BF16,
            UPSCALER_2_3,
        ),
    ),
    Bundle(
        name="ltx-2.5-distilled-int8",
        generation="2.5",
        what="LTX-2.5 distilled and Gemma 4 in int8, both VAEs, x2 upscaler",
        files=(
            _ltx_2_5(
                "diffusion_models/ltx-2.5-22b-distilled-transformer-comfy-int8-convrot.safetensors", 21_000_000_000
            ),
            GEMMA_4_INT8,
            *VAES_2_5,
            UPSCALER_2_5,
        ),
    ),
    Bundle(
        name="ltx-2.5-distilled",
        generation="2.5",
        what="LTX-2.5 distilled and Gemma 4 in bf16, both VAEs, x2 upscaler",
        files=(
            _ltx_2_5("diffusion_models/ltx-2.5-22b-distilled-transformer-bf16.safetensors", 42_020_000_000),
            GEMMA_4,
            *VAES_2_5,
            UPSCALER_2_5,
        ),
    ),
    Bundle(
        name="ltx-2.5-dev",
        generation="2.5",
        what="LTX-2.5 dev and Gemma 4 in bf16, the distilled LoRA, both VAEs, x2 upscaler",
        files=(
            _ltx_2_5("diffusion_models/ltx-2.5-22b-dev-transformer-bf16.safetensors", 42_020_000_000),
            LORA_2_5,
            GEMMA_4,
            *VAES_2_5,
            UPSCALER_2_5,
        ),
    ),
)


ALONE = (TEMPORAL_2_5,)  # published, and in no set


def files() -> list[PublishedFile]:
    """Every one once, those of the sets first."""
    return list(dict.fromkeys((*(file for bundle in BUNDLES for file in bundle.files), *ALONE)))


def names() -> list[str]:
    """What can be asked for: sets first, then single files by their names without the ending."""
    return [bundle.name for bundle in BUNDLES] + sorted(file.stem for file in files())


def files_of(name: str) -> Sequence[PublishedFile]:
    """The files of a set, or the one file of this name. Raises ValueError, one line, for a name that is neither."""
    for bundle in BUNDLES:
        if bundle.name == name:
            return bundle.files
    for file in files():
        if name in (file.stem, file.name):
            return (file,)
    known = ", ".join(bundle.name for bundle in BUNDLES)
    raise ValueError(f"{name!r}: no such download; expected one of {known}, or a file of these")


def bundle_of(generation: str) -> Bundle:
    """The smallest set of a generation: what someone who has nothing should get."""
    return next(bundle for bundle in BUNDLES if bundle.generation == generation)
