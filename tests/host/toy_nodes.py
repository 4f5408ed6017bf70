"""Nodes for the contract tests, ordinary and odd; every `execute` adds its name to `LOG`, so that runs can be counted.

`load_toys` of comfyui_side.py loads this file once for each side of the seam, with the package's name replaced.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from typing import Any

import torch
from PIL import Image

from openltx.nodes.host.api import NestedTensor, check_interrupted, io, output_file, progress, ui

Spec = io.Custom("OPENLTXTOY_SPEC")

LOG: list[str] = []


class ToyNumber(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        value = io.Int.Input("value", default=1, min=0, max=10, step=2, tooltip="a number")
        return io.Schema(node_id="ToyNumber", category="toy", inputs=[value], outputs=[io.Int.Output()])

    @classmethod
    def execute(cls, value: int) -> io.NodeOutput:
        LOG.append("ToyNumber")
        return io.NodeOutput(value)


class ToySum(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        template = io.Autogrow.TemplatePrefix(io.Int.Input("item", default=3, min=1), prefix="item", min=0, max=3)
        return io.Schema(
            node_id="ToySum",
            inputs=[io.Autogrow.Input("items", template=template, tooltip="to add")],
            outputs=[io.Int.Output("total", display_name="sum"), io.String.Output("names", tooltip="which came")],
        )

    @classmethod
    def execute(cls, items: dict[str, int]) -> io.NodeOutput:
        LOG.append("ToySum")
        return io.NodeOutput(sum(items.values()), ",".join(sorted(items)))


class ToyMode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        gain = [io.Float.Input("gain", default=1.0, min=0.0, max=4.0, step=0.1, round=0.01)]
        text = [io.String.Input("text", multiline=True), io.Int.Input("times", default=1, optional=True)]
        options = [io.DynamicCombo.Option("gain", gain), io.DynamicCombo.Option("text", text)]
        options.append(io.DynamicCombo.Option("none", []))
        return io.Schema(
            node_id="ToyMode",
            inputs=[io.DynamicCombo.Input("mode", options=options, display_name="Mode")],
            outputs=[io.String.Output("text")],
        )

    @classmethod
    def execute(cls, mode: dict[str, Any]) -> io.NodeOutput:
        LOG.append("ToyMode")
        return io.NodeOutput(repr(sorted(mode.items())))


class ToyLatent(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        seed = io.Int.Input("seed", default=0, min=0, max=2**64 - 1, control_after_generate=True)
        return io.Schema(node_id="ToyLatent", inputs=[seed], outputs=[io.Latent.Output("latent"), Spec.Output()])

    @classmethod
    def execute(cls, seed: int) -> io.NodeOutput:
        LOG.append("ToyLatent")
        source = torch.Generator().manual_seed(seed)
        video = torch.randn(1, 4, 2, 3, 3, generator=source)
        audio = torch.randn(1, 8, 5, 16, generator=source)
        return io.NodeOutput({"samples": NestedTensor([video, audio])}, {"seed": seed})


class ToyDigest(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [io.Latent.Input("latent"), Spec.Input("spec", optional=True)]
        return io.Schema(node_id="ToyDigest", inputs=inputs, outputs=[io.String.Output("digest")])

    @classmethod
    def execute(cls, latent: dict[str, Any], spec: Any = None) -> io.NodeOutput:
        LOG.append("ToyDigest")
        progress(1).update_absolute(1, preview=Image.new("RGB", (8, 8)))
        both = latent["samples"] * 2 + latent["samples"]
        digest = hashlib.sha256(b"".join(member.numpy().tobytes() for member in both.unbind())).hexdigest()
        return io.NodeOutput(f"{digest} {both.is_nested} {tuple(both.shape)} {both.ndim} {spec}")


class ToyShow(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(node_id="ToyShow", inputs=[io.AnyType.Input("value")], is_output_node=True)

    @classmethod
    def execute(cls, value: Any) -> io.NodeOutput:
        LOG.append("ToyShow")
        hidden = (cls.hidden.unique_id, sorted(cls.hidden.prompt or {}), cls.hidden.extra_pnginfo)
        return io.NodeOutput(ui=ui.PreviewText(f"{value!r} {hidden}"))


class ToySave(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [io.String.Input("text"), io.String.Input("prefix", default="toy/%year%", advanced=True)]
        return io.Schema(node_id="ToySave", inputs=inputs, is_output_node=True, not_idempotent=True)

    @classmethod
    def execute(cls, text: str, prefix: str) -> dict[str, Any]:
        LOG.append("ToySave")
        file = output_file(prefix, ".txt")
        file.path.write_text(text)
        return {"ui": {"images": [file.ui_entry()], "animated": (True,)}}


class ToyWho(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        hidden = [io.Hidden.unique_id]
        outputs = [io.String.Output("who")]
        return io.Schema(node_id="ToyWho", outputs=outputs, hidden=hidden, not_idempotent=True, is_experimental=True)

    @classmethod
    def execute(cls) -> io.NodeOutput:
        LOG.append("ToyWho")
        return io.NodeOutput(f"{cls.hidden.unique_id} {cls.hidden.prompt}")


class ToyLocked(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(node_id="ToyLocked", outputs=[io.String.Output("word")], is_deprecated=True)

    @classmethod
    def execute(cls) -> tuple[str]:
        try:
            cls.state = 1  # type: ignore[attr-defined]
        except AttributeError:
            return ("locked" if torch.is_inference_mode_enabled() else "locked, with gradients",)
        return ("open",)


class ToyAsync(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(node_id="ToyAsync", inputs=[io.Int.Input("value")], outputs=[io.Int.Output("value")])

    @classmethod
    async def execute(cls, value: int) -> io.NodeOutput:
        await asyncio.sleep(0)
        LOG.append("ToyAsync")
        return io.NodeOutput(value + 1)


class ToyOdd(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        forms = ["output", "tuple", "dict", "word", "value error", "runtime error"]
        return io.Schema(
            node_id="ToyOdd",
            inputs=[io.Combo.Input("form", options=forms, default="tuple"), io.Int.Input("value", optional=True)],
            outputs=[io.Int.Output("value")],
        )

    @classmethod
    def execute(cls, form: str, value: int = 7) -> Any:
        LOG.append("ToyOdd")
        if form == "value error":
            raise ValueError("expected something else")
        if form == "runtime error":
            raise RuntimeError("out of luck")
        answers = {"output": io.NodeOutput(value), "tuple": (value,), "dict": {"result": (value,)}, "word": "x"}
        return answers[form]


class ToyChanged(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [io.Combo.Input("how", options=["same", "nan", "fails"]), io.Int.Input("value", force_input=True)]
        return io.Schema(node_id="ToyChanged", inputs=inputs, outputs=[io.Int.Output("value")])

    @classmethod
    def fingerprint_inputs(cls, how: str, value: int | None) -> Any:
        if how == "fails":
            raise OSError("no such file")
        return float("nan") if how == "nan" else [value, "a"]

    @classmethod
    def execute(cls, how: str, value: int) -> io.NodeOutput:
        LOG.append("ToyChanged")
        return io.NodeOutput(value)


class ToyChecked(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [
            io.String.Input("word"),
            io.Boolean.Input("flag", default=False),
            io.Float.Input("size", default=1),
        ]
        return io.Schema(node_id="ToyChecked", inputs=inputs, outputs=[io.String.Output("all")])

    @classmethod
    def validate_inputs(cls, word: str) -> bool | str:
        return True if word != "bad" else "expected a good word, found 'bad'"

    @classmethod
    def execute(cls, word: str, flag: bool, size: float) -> io.NodeOutput:
        LOG.append("ToyChecked")
        return io.NodeOutput(repr((word, flag, size)))


class ToySlow(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [io.Boolean.Input("silent", default=False)]
        return io.Schema(node_id="ToySlow", inputs=inputs, outputs=[io.Int.Output("steps")])

    @classmethod
    def execute(cls, silent: bool) -> io.NodeOutput:
        LOG.append("ToySlow")
        with progress(1000) as steps:
            for _ in range(1000):
                time.sleep(0.01)
                check_interrupted() if silent else steps.update(1)
        return io.NodeOutput(1000)


class ToyEverything(io.ComfyNode):
    """Never run: every kind of socket and option, for the comparison of schemas."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        wires = "Model Clip Vae Conditioning Latent Noise Guider Sampler Sigmas Image Mask Audio Video"
        kinds = [getattr(io, name) for name in (*wires.split(), "LatentUpscaleModel", "ModelPatch", "AnyType")]
        upload = {"image": io.UploadType.image, "audio": io.UploadType.audio, "video": io.UploadType.video}
        nested = io.Autogrow.TemplatePrefix(io.Image.Input("picture", tooltip="one"), prefix="picture", min=1, max=4)
        return io.Schema(
            node_id="ToyEverything",
            display_name="Everything",
            category="toy/odd",
            description="All that a schema can say.",
            search_aliases=["kitchen sink"],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt],
            is_experimental=True,
            inputs=[
                *(kind.Input(f"in_{index}", optional=bool(index % 2)) for index, kind in enumerate(kinds)),
                *(io.Combo.Input(f"{kind}_file", options=["a"], upload=up) for kind, up in upload.items()),
                io.Combo.Input("number", options=[1, 2], default=2, control_after_generate=True, optional=True),
                io.Autogrow.Input("pictures", template=nested, optional=True),
                io.DynamicCombo.Input("how", options=[io.DynamicCombo.Option("x", [io.Mask.Input("mask")])]),
            ],
            outputs=[
                *(kind.Output() for kind in kinds),
                io.Boolean.Output("b"),
                io.Float.Output("f"),
                io.Combo.Output("c"),
            ],
        )

    @classmethod
    def execute(cls, **kwargs: Any) -> io.NodeOutput:
        raise NotImplementedError


NODES: list[type[io.ComfyNode]] = [
    ToyNumber,
    ToySum,
    ToyMode,
    ToyLatent,
    ToyDigest,
    ToyShow,
    ToySave,
    ToyWho,
    ToyLocked,
    ToyAsync,
    ToyOdd,
    ToyChanged,
    ToyChecked,
    ToySlow,
    ToyEverything,
]
