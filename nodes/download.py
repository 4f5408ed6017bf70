"""Published models by name, from the hub: only where a switch says so."""

from __future__ import annotations

from ..model_loaders.catalogue import BUNDLES
from ..model_loaders.download import asked, fetch, listed
from .host.api import check_interrupted, io, model_folder, progress, ui
from .host.files import MODEL_ROLES


class Download(io.ComfyNode):
    """A set of published files → the models folders."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXDownload",
            display_name="Download Models (LTX)",
            category="OpenLTX/loaders",
            description="Fetches a published set into the models folders. Switched off it only lists files and sizes, "
            "without any connection. Read the licences on the models' pages first.",
            inputs=[
                io.Combo.Input(
                    "name", options=[bundle.name for bundle in BUNDLES], tooltip="A set that makes a whole model."
                ),
                io.Boolean.Input(
                    "download",
                    default=False,
                    tooltip="On: connect to the hub and fetch what is missing, up to 90 GB. Off: list only.",
                ),
            ],
            outputs=[io.String.Output("report", tooltip="Files, sizes, licences and where they go.")],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, name: str, download: bool) -> io.NodeOutput:
        items = listed(name, {role: model_folder(role) for role in MODEL_ROLES})
        if download:
            items = asked(items)
            bar = progress(max(1, sum(item.bytes or 0 for item in items if not item.present)))

            def arrived(count: int) -> None:
                check_interrupted()
                bar.update(count)

            fetch(items, on_bytes=arrived)
        report = "\n".join(item.line() for item in items)
        return io.NodeOutput(report, ui=ui.PreviewText(report))
