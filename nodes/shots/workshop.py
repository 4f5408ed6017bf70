"""Renders the pieces of a film, each once: takes by Sample Long Clip, seams by a retake around a border."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ...media.retime import exact_rate
from ...model_loaders.parts import AudioPart, VideoPart
from ...networks.attention import backend_name
from ...package_version import version
from ...samplers.long_video import Segment, plan_segments
from ...samplers.noise import SEEDS
from ...samplers.shapes import audio_latent_frames, pixel_frames
from ...samplers.streams import Streams
from ...shots.assembly import SOUND_RATE, Heard, Piece, sounds
from ...shots.film import Shot
from ...shots.keys import key_of
from ...shots.store import Store
from ...shots.table import Work
from ...shots.timeline import Take
from ..generations import of_part
from ..given_items import GivenAudio
from ..guide import Guider
from ..host.api import compute_device
from ..latents import BOTH, FRAME_RATE, Latent, joined, members
from ..long import SampleLong
from ..made import made_of
from ..manifest import fingerprint
from ..mask_items import VIDEO, ConditionRetake
from ..noise import NEXT_STAGE, SeededNoise
from ..rules import StepRule
from ..stage import run_stage
from .content import lora_model, refuse_missing_vaes, sound_of, with_content
from .identity import part_identity
from .kept import latents_of, load_latents, save_latents
from .plan import ShotPlan
from .rendered import Rendered

FORMAT = 1  # of renderings: counted up whenever the same settings give other numbers
Pair = Streams[Tensor]


@dataclass(frozen=True, kw_only=True, eq=False)
class Workshop:
    """A plan, and everything that it is rendered with."""

    plan: ShotPlan
    guider: Guider
    rule: StepRule
    sigmas: Tensor
    video_vae: VideoPart | None
    audio_vae: AudioPart | None
    store: Store
    _keys: dict[Piece, str] = field(default_factory=dict)

    @property
    def pieces(self) -> list[Piece]:
        """In the order in which they can be rendered: a seam after the takes on both sides of it."""
        found: list[Piece] = []
        for number, take in enumerate(self.plan.timeline.takes):
            found += [Piece(number), *([Piece(number, True)] if take.seam else [])]
        return found

    @cached_property
    def heard(self) -> Mapping[Piece, Heard]:
        """Where each piece's sound lies."""
        return {entry.piece: entry for entry in sounds(self.plan.timeline, exact_rate(self.plan.film.fps))}

    def key(self, piece: Piece) -> str:
        """Of all that shapes a piece: also of the keys of those beside it, as far as they are given to it."""
        if piece not in self._keys:
            shaped_by = self._seam_shape(piece) if piece.seam else self._take_shape(piece)
            self._keys[piece] = key_of("seam" if piece.seam else "take", **shaped_by)
        return self._keys[piece]

    def check(self) -> None:
        """ValueError, before any work, for a VAE that is missing."""
        for take in self.plan.timeline.takes:
            refuse_missing_vaes(take, self.video_vae, self.audio_vae)
        track = self.plan.film.soundtrack
        if track is not None and track.use == "given" and self.audio_vae is None:
            raise ValueError("soundtrack: expected an audio VAE to give it, found none; connect audio_vae")

    def calls(self, piece: Piece) -> int:
        """Of the denoiser: one a step and window."""
        windows = 1 if piece.seam else len(self._segments(self.take(piece)))
        return windows * (len(self.sigmas) - 1)

    def take(self, piece: Piece) -> Take:
        return self.plan.timeline.takes[piece.take]

    def work(self) -> list[Work]:
        """What each shot still asks for, and how long that takes where renderings of the kind have been timed."""
        pace, found = self._pace(), []
        for number, take in enumerate(self.plan.timeline.takes):
            own = self._missing(Piece(number))
            seam = self._missing(Piece(number, True)) if take.seam else 0
            seconds = 0.0 if not own + seam else None if pace is None else (own + seam) * pace
            found.append(Work(calls=own, seam_calls=seam, seconds=seconds))
        return found

    def render(self, piece: Piece) -> None:
        """Makes a piece and keeps it."""
        began = time.monotonic()
        latent = self._seam(piece) if piece.seam else self._take(piece)
        told = {
            "kind": "seam" if piece.seam else "take",
            "film": self.plan.film.title,
            "shot": self.take(piece).shot.name,
            "calls": self.calls(piece),
            "seconds": time.monotonic() - began,
            "pace": self._pace_key,
            "steps": list(made_of(latent)),
        }
        self.store.put(self.key(piece), told, lambda folder: save_latents(folder, members(latent)))

    def rendered(self) -> Rendered:
        """The film, all of whose pieces have been rendered."""
        keys = {piece: self.key(piece) for piece in self.pieces}
        model = self.guider.model
        return Rendered(
            film=self.plan.film,
            timeline=self.plan.timeline,
            keys=keys,
            store=self.store,
            generation=model.generation,
        )

    def _missing(self, piece: Piece) -> int:
        return 0 if self.store.told(self.key(piece)) is not None else self.calls(piece)

    # takes

    def _take(self, piece: Piece) -> Latent:
        take, film = self.take(piece), self.plan.film
        guider, factors = self._guided(piece)
        tail = self._tail(piece) if take.lead else None
        latent = with_content(self._empty(take.whole), take, self.video_vae, self.audio_vae, factors)
        latent = self._with_sound(latent, piece, tail)
        beginning = None if tail is None else self._latent(tail)
        made: Latent = SampleLong.execute(
            SeededNoise(take.shot.seed),
            guider,
            self.rule,
            self.sigmas,
            latent,
            segment_seconds=film.window,
            overlap_seconds=film.overlap,
            audio_overlap_seconds=film.overlap,
            overlap_strength=film.hold,
            audio_strength=1.0,
            drift_control=film.drift,
            beginning=beginning,
        ).args[0]
        return made

    def _segments(self, take: Take) -> list[Segment]:
        film, audio = self.plan.film, self._sound_frames(take.whole)
        begun = Streams(video=take.lead, audio=self._sound_frames(take.lead) if take.lead else 0)
        whole = Streams(video=take.whole, audio=audio)
        return plan_segments(whole, film.fps, seconds=film.window, overlap=film.overlap, begun=begun)

    def _tail(self, piece: Piece) -> Pair:
        """The end of the take before, in both streams, that a take goes on from."""
        before, take = Piece(piece.take - 1), self.take(piece)
        latents = load_latents(latents_of(self.store, self.key(before)))
        first = self._behind(piece, before)
        return latents.map(lambda own: own[:, :, -take.lead :] if own.ndim == 5 else own[:, :, first:])

    def _with_sound(self, latent: Latent, piece: Piece, tail: Pair | None) -> Latent:
        """Given sound: of the whole film, or of this shot."""
        take, film, heard = self.take(piece), self.plan.film, self.heard[piece]
        seconds = pixel_frames(take.whole) / film.fps
        if film.soundtrack is not None and film.soundtrack.use == "given":
            audio = sound_of(film.soundtrack.path, float(heard.zero), seconds)
        elif take.shot.audio is not None:
            audio = sound_of(take.shot.audio, float(heard.zero) - take.start / film.fps, seconds)
        else:
            return latent
        assert self.audio_vae is not None
        given: Latent = GivenAudio.execute(latent, self.audio_vae, audio).args[0]
        return given

    # seams

    def _seam(self, piece: Piece) -> Latent:
        seam, film = self.take(piece).seam, self.plan.film
        assert seam is not None
        guider, _ = self._guided(piece)
        latent = self._latent(self._around(piece))
        given = film.soundtrack is not None and film.soundtrack.use == "given"
        start = (pixel_frames(seam.given) + 0.25) / film.fps
        end = (pixel_frames(seam.given + seam.before + seam.after) - 0.25) / film.fps
        latent = ConditionRetake.execute(latent, start, end, VIDEO if given else BOTH).args[0]
        noise = SeededNoise((self.take(piece).shot.seed + NEXT_STAGE) % SEEDS)
        finished, _ = run_stage(noise, guider, self.rule, self.sigmas, latent)
        return finished

    def _around(self, piece: Piece) -> Pair:
        """The window of a seam: the end of one take, the start of the next, nothing between their sounds."""
        one, two = Piece(piece.take - 1), Piece(piece.take)
        seam, frames = self.take(piece).seam, self._sound_frames
        assert seam is not None
        before, after = (load_latents(latents_of(self.store, self.key(side))) for side in (one, two))
        assert before.video is not None and after.video is not None  # noqa: PT018
        count = seam.given + seam.before, seam.after + seam.given
        video = torch.cat([before.video[:, :, -count[0] :], after.video[:, :, : count[1]]], dim=2)
        if before.audio is None or after.audio is None:
            return Streams(video=video)
        audio = before.audio.new_zeros(*before.audio.shape[:2], frames(seam.frames), before.audio.shape[3])
        head = before.audio[:, :, self._behind(piece, one) :][:, :, : audio.shape[2]]
        audio[:, :, : head.shape[2]] = head
        place = self._behind(two, piece)
        rest = after.audio[:, :, : audio.shape[2] - place]
        audio[:, :, place : place + rest.shape[2]] = rest
        return Streams(video=video, audio=audio)

    def _behind(self, piece: Piece, other: Piece) -> int:
        """Audio latent frames from the start of one piece's sound to that of another."""
        return int((self.heard[piece].zero - self.heard[other].zero) * SOUND_RATE)

    # what they are made of

    def _guided(self, piece: Piece) -> tuple[Guider, Any]:
        shot = self.take(piece).shot
        model, factors = lora_model(self.guider.model, shot.loras)
        return replace(self.guider, model=model, positive=self.plan.prompts[piece.take]), factors

    def _empty(self, frames: int) -> Latent:
        film, model = self.plan.film, self.guider.model
        if not model.video_channels:
            raise ValueError(f"{model.path.name}: expected a model for video, found one for sound alone")
        video = torch.zeros(1, model.video_channels, frames, film.height // 32, film.width // 32)
        audio = None
        if model.audio_channels:
            audio = torch.zeros(1, model.audio_channels, self._sound_frames(frames), 16)
        return self._latent(Streams(video=video, audio=audio))

    def _latent(self, pair: Pair) -> Latent:
        return of_part({"samples": joined(pair), FRAME_RATE: self.plan.film.fps}, self.guider.model)

    def _sound_frames(self, frames: int) -> int:
        return audio_latent_frames(pixel_frames(frames), self.plan.film.fps)

    # keys

    @cached_property
    def _means(self) -> dict[str, Any]:
        """What is the same for all pieces."""
        film, guider, model = self.plan.film, self.guider, self.guider.model
        network = model.transformer
        return {
            "format": [FORMAT, version()],
            "size": [film.width, film.height, film.fps, film.window, film.overlap, film.hold, film.drift],
            "model": [part_identity(model), model.weight_format, str(network.dtype), network.patches],
            "loras": [[fingerprint(use.lora.file.path), asdict(use.strengths)] for use in model.loras],
            "machine": [compute_device().type, backend_name()],
            "guidance": [guider.guidance, guider.tiles, guider.mask_rule, guider.nag, guider.negative],
            "steps": [self.rule, self.sigmas],
        }

    def _take_shape(self, piece: Piece) -> dict[str, Any]:
        take, film = self.take(piece), self.plan.film
        shape = {**self._means, "prompt": self.plan.prompts[piece.take], "frames": take.whole, **_given(take.shot)}
        if take.lead:
            shape["before"] = [take.lead, self.key(Piece(piece.take - 1)), self._behind(piece, Piece(piece.take - 1))]
        if film.soundtrack is not None and film.soundtrack.use == "given":
            shape["sound"] = [film.soundtrack.path, self.heard[piece].zero]
        elif take.shot.audio is not None:
            shape["sound"] = [take.shot.audio, self.heard[piece].zero - Fraction(take.start) / exact_rate(film.fps)]
        shot, sound = take.shot, "sound" in shape
        seen, voices = shot.pictures or shot.control or shot.references, bool(shot.voices)
        shape["vae"] = [self.video_vae if seen else None, self.audio_vae if sound or voices else None]
        shape["vae"] = list(map(part_identity, shape["vae"]))
        return shape

    def _seam_shape(self, piece: Piece) -> dict[str, Any]:
        one, two, take = Piece(piece.take - 1), Piece(piece.take), self.take(piece)
        places = [self._behind(piece, one), self._behind(two, piece)]
        return {**self._means, "sides": [self.key(one), self.key(two)], "seam": take.seam, "places": places}

    # how long it takes

    @property
    def _pace_key(self) -> str:
        return key_of("pace", **{name: self._means[name] for name in ("size", "model", "machine", "guidance")})

    def _pace(self) -> float | None:
        """Seconds of a call of the denoiser, of this kind on this machine; None where none has been timed."""
        told = [entry.told for entry in self.store.entries() if entry.told.get("pace") == self._pace_key]
        calls, seconds = sum(one["calls"] for one in told), sum(one["seconds"] for one in told)
        return seconds / calls if calls else None


def _given(shot: Shot) -> dict[str, Any]:
    """What a shot gives besides its text; lines and names do not shape it."""
    pictures = [[picture.path, picture.at, picture.strength] for picture in shot.pictures]
    others = [shot.control, list(shot.voices), list(shot.references)]
    return {"seed": shot.seed, "pictures": pictures, "loras": list(shot.loras), "others": others}
