"""Sample Shots: renders what is not in the cache."""

from __future__ import annotations

from torch import Tensor

from ...model_loaders.parts import AudioPart, VideoPart
from ...shots.store import usual_store
from ...shots.table import planned
from ..guide import Guider
from ..host.api import check_interrupted, io, ui
from ..rules import StepRule
from .plan import ShotPlan, ShotsType
from .rendered import FilmType
from .workshop import Workshop


def means() -> list[io.BaseInput]:
    """What a film is rendered with."""
    return [
        ShotsType.Input("shots", tooltip="From Shot List (LTX)."),
        io.Guider.Input("guider", tooltip="From a guider node; every shot brings its own prompt."),
        io.Sampler.Input("sampler", tooltip="From Step Rule (LTX)."),
        io.Sigmas.Input("sigmas", tooltip="From a schedule node; of every window."),
        io.Vae.Input("video_vae", optional=True, tooltip="For pictures and control clips of shots."),
        io.Vae.Input("audio_vae", optional=True, tooltip="For given sound and voices of shots."),
    ]


class SampleShots(io.ComfyNode):
    """Plan → renderings."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXSampleShots",
            display_name="Sample Shots (LTX)",
            category="OpenLTX/shots",
            description="Renders the shots of a film, picture and sound together, each window with the end of the one "
            "before. What did not change since it was last rendered comes from the cache.",
            not_idempotent=True,
            inputs=means(),
            outputs=[
                FilmType.Output("film", tooltip="For Shots to AV File (LTX) and Latent of a Shot (LTX)."),
                io.String.Output("report", tooltip="What was rendered, what came from the cache, as a table."),
            ],
        )

    @classmethod
    def execute(
        cls,
        shots: ShotPlan,
        guider: Guider,
        sampler: StepRule,
        sigmas: Tensor,
        video_vae: VideoPart | None = None,
        audio_vae: AudioPart | None = None,
    ) -> io.NodeOutput:
        shop = workshop(shots, guider, sampler, sigmas, video_vae, audio_vae)
        report = planned(shots.film, shop.work())
        for piece in shop.pieces:
            check_interrupted()
            if shop.store.found(shop.key(piece)) is None:
                try:
                    shop.render(piece)
                except (ValueError, FloatingPointError) as error:
                    raise at_line(error, shop, piece.take) from error
        return io.NodeOutput(shop.rendered(), report, ui=ui.PreviewText(report))


def workshop(
    shots: ShotPlan,
    guider: Guider,
    sampler: StepRule,
    sigmas: Tensor,
    video_vae: VideoPart | None,
    audio_vae: AudioPart | None,
) -> Workshop:
    """With the usual store. ValueError for a VAE that is missing."""
    shop = Workshop(
        plan=shots,
        guider=guider,
        rule=sampler,
        sigmas=sigmas,
        video_vae=video_vae,
        audio_vae=audio_vae,
        store=usual_store(),
    )
    shop.check()
    return shop


def at_line(error: Exception, shop: Workshop, number: int) -> Exception:
    """The error with its shot and line, unless it names them already."""
    shot, text = shop.plan.film.shots[number], str(error)
    return error if text.startswith("line ") else type(error)(f"line {shot.line}: shot {shot.name!r}: {text}")
