"""What a node module may ask of its host; the only import that node modules make from the seam.

In ComfyUI `io` and `ui` are its own node API; elsewhere they are ours, and the type checker always sees ours: a node
that uses something our host lacks does not type-check. Both sides obey one contract (tests/host; packaging.md
sections 3 and 4).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import in_comfyui
from .files import OutputFile

if TYPE_CHECKING or not in_comfyui:
    from .standalone import io, ui
    from .standalone.nested import NestedTensor
    from .standalone.runtime import (
        attention_wanted,
        check_interrupted,
        compute_device,
        input_file,
        input_files,
        input_sequence,
        input_sequences,
        metadata_wanted,
        model_files,
        model_folder,
        model_path,
        output_file,
        progress,
        state_folder,
        warn_user,
    )
else:
    from .comfyui.runtime import (
        NestedTensor,
        attention_wanted,
        check_interrupted,
        compute_device,
        input_file,
        input_files,
        input_sequence,
        input_sequences,
        io,
        metadata_wanted,
        model_files,
        model_folder,
        model_path,
        output_file,
        progress,
        state_folder,
        ui,
        warn_user,
    )

__all__ = [
    "NestedTensor",
    "OutputFile",
    "attention_wanted",
    "check_interrupted",
    "compute_device",
    "input_file",
    "input_files",
    "input_sequence",
    "input_sequences",
    "io",
    "metadata_wanted",
    "model_files",
    "model_folder",
    "model_path",
    "output_file",
    "progress",
    "state_folder",
    "ui",
    "warn_user",
]
