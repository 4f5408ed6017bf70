"""Random numbers of a stage: their order is the documented one, and equal settings give equal bits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from openltx.nodes.guide import NO_GUIDANCE, Guider
from openltx.nodes.latents import EmptyAVLatent, members
from openltx.nodes.load import INSIDE, LoadModel
from openltx.nodes.long import SampleLong
from openltx.nodes.manifest import NOISE_ORDER
from openltx.nodes.noise import SeededNoise
from openltx.nodes.rules import RULES, NamedRule
from openltx.nodes.sample import SampleStage
from openltx.nodes.tiled import SampleTiles
from openltx.samplers.conditioning import Keyframe, ReferenceAudio, apply_items
from openltx.samplers.noise import draw_noise
from openltx.samplers.state import audio_state, video_state
from openltx.samplers.streams import Streams
from openltx.samplers.tokens import patchify_audio, patchify_video
from openltx.training.embedded_config import CONTEXT_WIDTH

SIGMAS = torch.tensor([1.0, 0.6, 0.2, 0.0])


def test_start_noise_comes_grid_by_grid_and_appended_tokens_after_their_own() -> None:
    assert NOISE_ORDER == "seeded CPU generator: video grid, its appended tokens, audio grid, its appended tokens"
    video = apply_items(
        video_state(torch.zeros(1, 4, 3, 2, 2), 24.0), [Keyframe(latent=torch.zeros(1, 4, 1, 2, 2), frame=5)]
    )
    audio = apply_items(audio_state(torch.zeros(1, 2, 6, 16)), [ReferenceAudio(latent=torch.zeros(1, 2, 3, 16))])
    noise = SeededNoise(7).start(Streams(video=video, audio=audio))
    generator = torch.Generator("cpu").manual_seed(7)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    want_video = torch.cat([patchify_video(drawn(1, 4, 3, 2, 2)), drawn(1, 4, 4)], dim=1)
    want_audio = torch.cat([patchify_audio(drawn(1, 2, 6, 16)), drawn(1, 3, 32)], dim=1)
    assert torch.equal(noise.video, want_video)  # type: ignore[arg-type]
    assert torch.equal(noise.audio, want_audio)  # type: ignore[arg-type]


def test_without_appended_tokens_a_seed_means_what_it_means_in_comfyui() -> None:
    states = Streams(video=video_state(torch.zeros(1, 4, 3, 2, 2), 24.0), audio=audio_state(torch.zeros(1, 2, 6, 16)))
    ours, latents = SeededNoise(5).start(states), draw_noise(5, Streams(video=(1, 4, 3, 2, 2), audio=(1, 2, 6, 16)))
    assert torch.equal(ours.video, patchify_video(latents.video))  # type: ignore[arg-type]
    assert torch.equal(ours.audio, patchify_audio(latents.audio))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def guider() -> Guider:
    model = LoadModel.execute("openltx-tiny-2.3.safetensors", INSIDE, "float32").args[0]
    guidance: Any = NO_GUIDANCE
    context = torch.randn(1, 4, CONTEXT_WIDTH, generator=torch.Generator().manual_seed(0))
    return Guider(model=model, positive=[[context, {}]], negative=[[-context, {}]], guidance=guidance)


def _bits(latent: Any) -> list[Tensor]:
    return members(latent).present()


@pytest.mark.parametrize("rule", RULES)
def test_the_same_seed_gives_the_same_bits_by_every_rule(guider: Guider, rule: str) -> None:
    latent = EmptyAVLatent.execute(guider.model, 64, 32, 9, 24.0).args[0]

    def made(seed: int) -> list[Tensor]:
        with torch.inference_mode():
            return _bits(SampleStage.execute(SeededNoise(seed), guider, NamedRule(name=rule), SIGMAS, latent).args[0])

    first, again, other = made(3), made(3), made(4)
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert not any(torch.equal(one, two) for one, two in zip(first, other, strict=True))


def test_long_clips_and_tiles_give_the_same_bits(guider: Guider) -> None:
    rule = NamedRule(name="euler_ancestral")
    long = EmptyAVLatent.execute(guider.model, 32, 32, 49, 24.0).args[0]
    wide = EmptyAVLatent.execute(guider.model, 128, 32, 9, 24.0).args[0]

    def made() -> list[Tensor]:
        noise = SeededNoise(3)
        with torch.inference_mode():
            clip = SampleLong.execute(noise, guider, rule, SIGMAS, long, 1.3, 0.4, 0.4, 0.5, 1.0, 0.0).args[0]
            tiles = SampleTiles.execute(noise, guider, rule, SIGMAS, wide, 1, 2, 1, 1, 0).args[0]
        return _bits(clip) + _bits(tiles)

    assert all(torch.equal(one, two) for one, two in zip(made(), made(), strict=True))
