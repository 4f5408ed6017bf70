"""What a node shows in the user interface beside its results; the shapes that ComfyUI's front end reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from PIL import Image

from .io import ComfyNode, FolderType, UIOutput
from .runtime import output_file

if TYPE_CHECKING:
    from torch import Tensor


class SavedResult(dict[str, str]):
    """A saved file: {"filename", "subfolder", "type"}."""

    def __init__(self, filename: str, subfolder: str, type: FolderType) -> None:
        super().__init__(filename=filename, subfolder=subfolder, type=type.value)


class SavedImages(UIOutput):
    """Saved images, or a saved animation."""

    def __init__(self, results: Sequence[dict[str, str]], is_animated: bool = False) -> None:
        self.results, self.is_animated = list(results), is_animated

    def as_dict(self) -> dict[str, Any]:
        return {"images": self.results} | ({"animated": (True,)} if self.is_animated else {})


class SavedAudios(UIOutput):
    """Saved sound files."""

    def __init__(self, results: Sequence[dict[str, str]]) -> None:
        self.results = list(results)

    def as_dict(self) -> dict[str, Any]:
        return {"audio": self.results}


class PreviewVideo(UIOutput):
    """Saved videos; the front end expects them among the images."""

    def __init__(self, values: Sequence[dict[str, str]]) -> None:
        self.values = list(values)

    def as_dict(self) -> dict[str, Any]:
        return {"images": self.values, "animated": (True,)}


class PreviewText(UIOutput):
    """A text to read."""

    def __init__(self, value: str) -> None:
        self.value = value

    def as_dict(self) -> dict[str, Any]:
        return {"text": (self.value,)}


class PreviewImage(UIOutput):
    """Images (float B H W C, 0 … 1), written as PNG into the temporary folder."""

    def __init__(self, image: Tensor, animated: bool = False, cls: type[ComfyNode] | None = None) -> None:
        self.values, self.animated = [_save_png(frame) for frame in image], animated

    def as_dict(self) -> dict[str, Any]:
        return {"images": self.values, "animated": (self.animated,)}


def _save_png(frame: Tensor) -> dict[str, str]:
    file = output_file("preview", ".png", temporary=True)
    pixels = (frame.float().clamp(0, 1) * 255).byte().cpu().numpy()  # H W C
    Image.fromarray(pixels).save(file.path, compress_level=1)
    return file.ui_entry()
