"""What a model file is."""

from __future__ import annotations

from ..model_loaders.inspect import inspect_file
from .host.api import io, model_files, model_path

ROLES = (
    *("checkpoints", "diffusion_models", "text_encoders", "vae", "loras", "latent_upscale_models", "model_patches"),
)


class InspectFile(io.ComfyNode):
    """A model file → a report of its kind, generation, format and parts."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXInspect",
            display_name="Inspect Model File (LTX)",
            category="OpenLTX/loaders",
            description="Says what a file is: kind, generation, weight format, parts, layers of a LoRA. Reads headers.",
            inputs=[
                io.Combo.Input(
                    "file",
                    options=[f"{role}/{name}" for role in ROLES for name in model_files(role)],
                    tooltip="A file of any model folder.",
                ),
            ],
            outputs=[io.String.Output("report", tooltip="One line a part.")],
        )

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        role, _, name = file.partition("/")
        if role not in ROLES:
            raise ValueError(f"file: expected one of the folders {', '.join(ROLES)} before the name, found {file!r}")
        return io.NodeOutput("\n".join(inspect_file(model_path(role, name)).lines()))
