"""Plan of Shots: what a film still needs, as a table and a contact sheet, before anything is rendered."""

from __future__ import annotations

from collections.abc import Iterator

from PIL import Image
from torch import Tensor

from ...media.pictures import read_picture
from ...media.sequences import png_texts
from ...model_loaders.parts import AudioPart, VideoPart
from ...samplers.shapes import pixel_frames
from ...shots.sheet import COLUMNS, Row, contact_sheet
from ...shots.table import PLAN_TEXT, planned, state_of
from ..guide import Guider
from ..host.api import io, output_file
from ..rules import StepRule
from ..save import PREFIX
from .plan import ShotPlan
from .rendered import Rendered
from .sample import means, workshop
from .workshop import Workshop


class ShotTable(io.ComfyNode):
    """Plan → table and contact sheet."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXShotTable",
            display_name="Plan of Shots (LTX)",
            category="OpenLTX/shots",
            description="Shows what of a film is to be rendered, what comes from the cache and how long it should "
            "take, as a table and a contact sheet (PNG). Renders nothing.",
            is_output_node=True,
            not_idempotent=True,
            inputs=[
                *means(),
                io.String.Input("filename_prefix", default="openltx_shots", tooltip=PREFIX),
            ],
            outputs=[io.String.Output("table", tooltip="A line a shot.")],
        )

    @classmethod
    def execute(
        cls,
        shots: ShotPlan,
        guider: Guider,
        sampler: StepRule,
        sigmas: Tensor,
        filename_prefix: str,
        video_vae: VideoPart | None = None,
        audio_vae: AudioPart | None = None,
    ) -> io.NodeOutput:
        shop = workshop(shots, guider, sampler, sigmas, video_vae, audio_vae)
        work, saved = shop.work(), output_file(filename_prefix, ".png")
        rows = []
        for number, own in enumerate(work):
            pictures = _pictures(shop, number, video_vae)
            row = Row(caption=shots.film.shots[number].name, state=state_of(own), done=not own.calls, pictures=pictures)
            rows.append(row)
        table = planned(shots.film, work)
        sheet = contact_sheet(rows, shots.film.width, shots.film.height)
        sheet.save(saved.path, pnginfo=png_texts({PLAN_TEXT: table}))
        shown = {"text": (table,), "images": [saved.ui_entry()]}
        return io.NodeOutput(table, ui=shown)


def _pictures(shop: Workshop, number: int, video_vae: VideoPart | None) -> list[Image.Image | None]:
    """Of a shot: frames that are kept, else the pictures that it is given."""
    kept = [] if video_vae is None else list(_kept_frames(shop.rendered(), number, video_vae))
    if kept:
        return [*kept]
    take = shop.plan.timeline.takes[number]
    given = sorted(take.shot.pictures, key=lambda picture: picture.at != "first")
    return [_image(read_picture(picture.path, background=(1.0, 1.0, 1.0)) * 255) for picture in given[:COLUMNS]]


def _kept_frames(film: Rendered, number: int, video_vae: VideoPart) -> Iterator[Image.Image]:
    """COLUMNS of the shot's own frames, evenly."""
    take = film.timeline.takes[number]
    first = pixel_frames(take.whole) - take.pixels
    wanted = {first + round(take.pixels * (column + 0.5) / COLUMNS) for column in range(COLUMNS)}
    yield from (_image(frame) for place, frame in enumerate(film.pictures(number, video_vae)) if place in wanted)


def _image(pixels: Tensor) -> Image.Image:
    """(H, W, 3) in 0 … 255."""
    return Image.fromarray(pixels.round().byte().cpu().numpy())
