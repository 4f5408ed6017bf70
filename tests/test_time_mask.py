"""The node pack's retake as a noise mask of a LATENT."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from openltx.nodes.latents import FRAME_RATE, joined, masks_of
from openltx.nodes.time_mask import TimeMask
from openltx.samplers.streams import Streams

LATENT = {"samples": joined(Streams(video=torch.zeros(1, 4, 4, 2, 3), audio=torch.zeros(1, 2, 26, 16)))}
INSIDE = {"start": 0.3, "end": 0.75, "streams": "video and audio", "outside": 0.0}


def masked(latent: dict[str, Any], **inputs: Any) -> Any:
    return masks_of(TimeMask.execute(latent, **{**INSIDE, **inputs}).args[0])


def test_both_streams() -> None:
    found = masked({**LATENT, FRAME_RATE: 24.0})
    assert found.video.flatten().tolist() == [0, 0, 1, 0]
    assert found.audio.flatten().nonzero().flatten().tolist() == list(range(8, 20))
    assert masked(LATENT, frame_rate=24.0).video.flatten().tolist() == [0, 0, 1, 0]


def test_one_stream_and_another_value_outside() -> None:
    found = masked({**LATENT, FRAME_RATE: 24.0}, streams="audio", outside=0.25)
    assert found.video.flatten().tolist() == [0.25] * 4
    assert found.audio.flatten()[7:9].tolist() == [0.25, 1.0]


def test_a_mask_in_space() -> None:
    left = torch.zeros(1, 64, 96)
    left[..., :32] = 1
    found = masked({**LATENT, FRAME_RATE: 24.0}, mask=left).video
    assert found.shape == (1, 1, 4, 2, 3)
    assert found[0, 0, 2].tolist() == [[1, 0, 0], [1, 0, 0]]
    assert not found[:, :, [0, 1, 3]].any()


def test_without_a_frame_rate_it_says_so() -> None:
    with pytest.raises(ValueError, match="it carries no frame rate"):
        masked(LATENT)
    sound = {"samples": torch.zeros(1, 2, 26, 16)}
    assert masked(sound).audio.sum() == 12
