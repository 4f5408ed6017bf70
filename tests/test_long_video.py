"""Long clips: segments cover both streams, go on where the last one ended, and refuse what cannot be cut."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from openltx.conformance.case import Case, read_case
from openltx.conformance.procedures import pipelines_comfy
from openltx.networks.transformer import Transformer
from openltx.nodes.guide import PresetGuider
from openltx.nodes.latents import FRAME_RATE, EmptyAVLatent, joined, members, with_audio_item, with_video_item
from openltx.nodes.load import INSIDE, LoadModel
from openltx.nodes.long import EncodePrompts, SampleLong, split_prompts
from openltx.nodes.noise import Noise
from openltx.nodes.rules import NamedRule
from openltx.nodes.schedule import DistilledSchedule
from openltx.samplers.community import SpatialPlan
from openltx.samplers.conditioning import (
    ConditioningItem,
    GivenStream,
    InpaintMask,
    Keyframe,
    KeyframeSlots,
    LatentGuide,
    LatentReplacement,
    ReferenceAudio,
    ReferenceVideo,
    TemporalRegions,
)
from openltx.samplers.long_video import (
    Handover,
    LongClip,
    Loop,
    LoopCall,
    Segment,
    SegmentItems,
    Target,
    cross_fade,
    normalise_statistics,
    plan_segments,
    sample_looping,
    tile_of_image,
    transfer_statistics,
)
from openltx.samplers.long_video.handover import AudioBefore, AudioStart, audio_items, video_items
from openltx.samplers.shapes import VideoGrid, audio_latent_frames, pixel_frames
from openltx.samplers.state import VideoLayout, audio_state
from openltx.samplers.streams import Streams

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = (ROOT / "tests" / "golden", ROOT.parent / "shared" / "golden")
LOOPING = "comfy_looping_sampler.safetensors"


def _randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _whole(frames: int, fps: float) -> Streams[int]:
    return Streams(video=frames, audio=audio_latent_frames(pixel_frames(frames), fps))


@pytest.mark.parametrize("fps", [1.0, 12.5, 23.976, 24.0, 25.0, 30.0, 50.0, 60.0, 120.0])
@pytest.mark.parametrize("frames", [2, 5, 16, 17, 40, 151])
def test_segments_cover_both_streams_without_a_gap(frames: int, fps: float) -> None:
    for seconds, overlap in ((5.0, 1.0), (2.0, 0.5), (40.0, 17.0)):
        whole = _whole(frames, fps)
        if max(round((seconds * fps - 1) / 8), 0) + 1 <= max(max(round((overlap * fps - 1) / 8), 0) + 1, 2):
            with pytest.raises(ValueError, match="longer than their overlap"):
                plan_segments(whole, fps, seconds=seconds, overlap=overlap)
            continue
        segments = plan_segments(whole, fps, seconds=seconds, overlap=overlap)
        assert (segments[0].video[0], segments[0].audio[0], segments[0].shared_video) == (0, 0, 0)
        assert (segments[-1].video[1], segments[-1].audio[1]) == (whole.video, whole.audio)
        pixels = [frame for segment in segments for frame in segment.new_pixels]
        assert pixels == list(range(pixel_frames(frames)))
        for one, other in pairwise(segments):
            assert other.video[0] == one.video[1] - other.shared_video
            assert other.audio[0] == one.audio[1] - other.shared_audio
            assert 0 <= other.handed_audio == other.shared_audio
        for segment in segments:
            start, end = segment.video
            exact = audio_latent_frames(pixel_frames(end - start), fps)
            assert abs(segment.audio[1] - segment.audio[0] - exact) <= 1
        lengths = [end - start for start, end in (segment.video for segment in segments)]
        assert max(lengths) - min(lengths) <= 1


def test_the_overlap_of_the_sound_is_its_own() -> None:
    def second(audio_overlap: float | None) -> Segment:
        return plan_segments(_whole(31, 24.0), 24.0, seconds=5.0, overlap=1.0, audio_overlap=audio_overlap)[1]

    assert second(None).handed_audio == second(None).shared_audio == 26  # 25 pixel frames are what 4 latent ones show
    assert (second(0.4).handed_audio, second(0.4).earlier_audio) == (10, 0)
    assert (second(3.0).handed_audio, second(3.0).earlier_audio) == (26, 49)
    assert (second(0.0).handed_audio, second(0.0).earlier_audio) == (0, 0)


def test_a_beginning_is_continued_and_impossible_ones_are_refused() -> None:
    whole, begun = _whole(31, 24.0), Streams(video=10, audio=75)
    segments = plan_segments(whole, 24.0, seconds=5.0, overlap=1.0, begun=begun)
    assert segments[0].video[0] == 6
    assert segments[0].shared_video == 4
    assert segments[0].audio[0] + segments[0].shared_audio == 75
    for bad in (2, 31, 40):
        with pytest.raises(ValueError, match="expected a beginning of 4 to 30 latent frames"):
            plan_segments(whole, 24.0, seconds=5.0, overlap=1.0, begun=Streams(video=bad))
    with pytest.raises(ValueError, match="positive"):
        plan_segments(whole, 24.0, seconds=0.0, overlap=1.0)


def _layout(frames: int = 31) -> VideoLayout:
    return VideoLayout(grid=VideoGrid(frames, 2, 2), fps=24.0)


def _segments(frames: int = 31) -> list[Segment]:
    return plan_segments(_whole(frames, 24.0), 24.0, seconds=5.0, overlap=1.0)


def test_every_keyframe_is_in_one_segment_at_its_time() -> None:
    for frame in range(pixel_frames(31)):
        item = Keyframe(latent=torch.zeros(1, 3, 1, 2, 2), frame=frame)
        found = [(s, own) for s in _segments() for own in video_items([item], s, _layout())]
        assert len(found) == 1
        segment, own = found[0]
        assert isinstance(own, Keyframe)
        assert own.frame + segment.first_pixel == frame
        assert 0 <= own.frame < pixel_frames(segment.video[1] - segment.video[0])


def test_items_are_cut_to_a_segment() -> None:
    second = _segments()[1]
    start, end = second.video
    clip, sound = _randn(1, 3, 31, 2, 2), _randn(1, 2, 252, 4)
    attention = torch.arange(31.0).repeat_interleave(4) / 31
    items: list[ConditioningItem] = [
        LatentReplacement(latent=clip, strength=0.9),
        GivenStream(latent=clip),
        InpaintMask(source=clip, keep=torch.ones(1, 31, 2, 2)),
        ReferenceVideo(latent=clip, attention=attention),
    ]
    replaced, given, inpaint, reference = video_items(items, second, _layout())
    assert isinstance(replaced, LatentReplacement)
    assert isinstance(given, GivenStream)
    assert isinstance(inpaint, InpaintMask)
    assert isinstance(reference, ReferenceVideo)
    assert replaced.latent_frame == second.shared_video
    assert torch.equal(replaced.latent, clip[:, :, start + second.shared_video : end])
    assert torch.equal(given.latent, clip[:, :, start:end])
    assert inpaint.keep.shape[1] == end - start
    assert isinstance(reference.attention, Tensor)
    assert torch.equal(reference.attention, attention[start * 4 : end * 4])
    assert video_items([ReferenceVideo(latent=clip[:, :, :2])], second, _layout()) == []
    voice = ReferenceAudio(latent=sound)
    (cut, kept) = audio_items([GivenStream(latent=sound), voice], second)
    assert isinstance(cut, GivenStream)
    assert torch.equal(cut.latent, sound[:, :, second.audio[0] : second.audio[1]])
    assert kept is voice


def test_items_that_cannot_be_cut_are_refused_by_name() -> None:
    segment = _segments()[0]
    for item in (KeyframeSlots(positions=(8,)), TemporalRegions(regions=((0.0, 1.0),))):
        with pytest.raises(ValueError, match=type(item).__name__):
            video_items([item], segment, _layout())
    with pytest.raises(ValueError, match="TemporalRegions"):
        audio_items([TemporalRegions(regions=((0.0, 1.0),))], segment)
    last = segment.new_pixels[-1]
    crossing = Keyframe(latent=torch.zeros(1, 3, 3, 2, 2), frame=last - 8, pixel_frames=24)
    with pytest.raises(ValueError, match=f"crosses the end of a part at frame {last}"):
        video_items([crossing], segment, _layout())


def test_sound_before_a_segment_ends_where_its_own_begins() -> None:
    state = audio_state(_randn(1, 2, 10, 4))
    longer = AudioBefore(latent=_randn(1, 2, 3, 4, seed=1)).apply(state)
    before, own = longer.positions[0, 0, 10:], longer.positions[0, 0, :10]
    assert torch.allclose(before[1:, 0], before[:-1, 1])
    assert torch.allclose(own[1, 0] - 0.04, before[-1, 1])  # its first token would begin at -0.03 s
    assert bool((longer.mask[:, 10:] == 0).all())
    started = AudioStart(latent=_randn(1, 2, 4, 4, seed=2), strength=0.75).apply(state)
    assert started.mask[0, :, 0].tolist() == [0.25] * 4 + [1.0] * 6
    with pytest.raises(ValueError, match="at most the segment's 10 audio frames, found 11"):
        AudioStart(latent=_randn(1, 2, 11, 4)).apply(state)


class _Recorder:
    """A sampler that keeps what it is given where the strength is 1, and makes noise elsewhere."""

    def __init__(self) -> None:
        self.calls: list[tuple[Segment, Streams[Tensor], Streams[SegmentItems]]] = []

    def __call__(self, segment: Segment, start: Streams[Tensor], items: Streams[SegmentItems]) -> Streams[Tensor]:
        self.calls.append((segment, start, items))
        made = start.map(lambda latent: 3 + _randn(*latent.shape, seed=len(self.calls)))
        if made.audio is not None:
            for item in items.audio or ():
                if isinstance(item, AudioStart):
                    made.audio[:, :, : item.latent.shape[2]] = item.latent
                if isinstance(item, GivenStream):
                    made.audio.copy_(item.latent)
        return made


def _clip(**options: Any) -> LongClip:
    start = Streams(video=torch.zeros(1, 3, 31, 2, 2), audio=torch.zeros(1, 2, 251, 4))
    return LongClip(start=start, layout=_layout(), **options)


def test_picture_and_sound_of_a_long_clip_are_joined_at_the_same_time() -> None:
    sampler, segments = _Recorder(), _segments()
    result = _clip().sample(segments, sampler)
    assert result.video is not None
    assert result.audio is not None
    assert (result.video.shape[2], result.audio.shape[2]) == (31, 251)
    for segment, start, items in sampler.calls[1:]:
        assert start.video is not None
        assert start.audio is not None
        assert start.video.shape[2] == segment.video[1] - segment.video[0]
        assert start.audio.shape[2] == segment.audio[1] - segment.audio[0]
        guide, sound = (items.video or ())[0], (items.audio or ())[0]
        assert isinstance(guide, LatentGuide)
        assert isinstance(sound, AudioStart)
        assert (guide.strength, sound.strength) == (0.5, 1.0)
        assert guide.latent.shape[2] == segment.shared_video
        first, given = segment.audio[0], segment.handed_audio
        assert torch.equal(result.audio[:, :, first : first + given], sound.latent), "given sound stays to the bit"


def test_a_beginning_stays_and_a_given_stream_stays_whole() -> None:
    given = _randn(1, 2, 251, 4, seed=9)
    begun = Streams(video=_randn(1, 3, 8, 2, 2, seed=7), audio=given[:, :, : audio_latent_frames(57, 24.0)])
    items: Streams[SegmentItems] = Streams(video=(), audio=(GivenStream(latent=given),))
    drift = Handover(drift=Streams(video=0.5, audio=0.5))
    segments = plan_segments(
        _whole(31, 24.0), 24.0, seconds=5.0, overlap=1.0, begun=begun.map(lambda latent: latent.shape[2])
    )
    sampler = _Recorder()
    result = _clip(items=items, beginning=begun, handover=drift).sample(segments, sampler)
    assert result.video is not None
    assert result.audio is not None
    assert begun.video is not None
    kept = 8 - segments[0].shared_video + 1
    assert torch.equal(result.video[:, :, :kept], begun.video[:, :, :kept])
    assert torch.equal(result.audio, given)
    assert not any(isinstance(item, AudioStart) for _, _, own in sampler.calls for item in own.audio or ())


def test_drift_control_draws_later_segments_to_the_first() -> None:
    result = _clip(handover=Handover(drift=Streams(video=1.0, audio=0.0))).sample(_segments(), _Recorder())
    assert result.video is not None
    first, last = result.video[:, :, :10], result.video[:, :, -10:]
    assert float((first.mean() - last.mean()).abs()) < 0.15


def test_joining_keeps_what_is_equal_and_refuses_too_much() -> None:
    x = _randn(1, 2, 9, 3)
    assert torch.equal(cross_fade(x[:, :, :6], x[:, :, 2:], 4), x)
    assert torch.equal(cross_fade(x[:, :, :6], x[:, :, 6:], 0), x)
    with pytest.raises(ValueError, match="expected 0 to 3 frames, found 4"):
        cross_fade(x, x[:, :, :3], 4)


def test_statistics_reach_their_goal_and_refuse_odd_ones() -> None:
    x, goal = _randn(2, 3, 4, 5, 6), 4 + 2 * _randn(2, 3, 7, 5, 6, seed=1)
    moved = transfer_statistics(x, goal, 1.0)
    assert torch.allclose(moved.mean((2, 3, 4)), goal.mean((2, 3, 4)), atol=1e-4)
    assert torch.allclose(moved.std((2, 3, 4)), goal.std((2, 3, 4)), atol=1e-4)
    assert torch.equal(transfer_statistics(x, goal, 0.0), x)
    assert bool(torch.isfinite(transfer_statistics(torch.ones(1, 3, 2, 2, 2), goal[:1], 1.0)).all())
    normal = normalise_statistics(x * 5 + 2, Target(percentile=100.0), 1.0)
    assert torch.allclose(normal.std((2, 3, 4)), torch.ones(2, 3), atol=1e-4)
    with pytest.raises(ValueError, match="a reference of 4 frames, found 7"):
        transfer_statistics(x, goal, 1.0, per_frame=True)
    with pytest.raises(ValueError, match="factor"):
        transfer_statistics(x, goal, 1.5)
    with pytest.raises(ValueError, match="percentile"):
        Target(percentile=0.0)
    with pytest.raises(ValueError, match="std"):
        Target(std=0.0)


def _zeros(call: LoopCall) -> Tensor:
    return torch.zeros_like(call.latent)


def test_the_loop_gives_every_tile_what_the_node_pack_gives() -> None:
    image, guides = torch.ones(1, 3, 1, 4, 4), _randn(1, 3, 9, 2, 2)
    loop = Loop(tile=40, overlap=16, images={0: image, -1: image}, guides=guides, guide_steps=(1, 3))
    calls: list[LoopCall] = []

    def sample(call: LoopCall) -> Tensor:
        calls.append(call)
        return torch.zeros_like(call.latent)

    assert sample_looping(torch.zeros(1, 3, 9, 4, 4), loop, sample).shape[2] == 9
    assert [(call.start, call.steps) for call in calls[:3]] == [(0, (0, 1)), (0, (1, 3)), (0, (3, None))]
    kinds = [[type(item).__name__ for item in call.items] for call in calls]
    assert kinds[:3] == [["Keyframe"], ["LatentGuide", "Keyframe"], ["Keyframe"]]
    assert kinds[3:6] == [["LatentGuide"], ["LatentGuide", "LatentGuide"], ["LatentGuide"]]
    last = calls[-1].items[-1]
    assert isinstance(last, Keyframe)
    assert last.frame == 64 - 48
    with pytest.raises(ValueError, match="frame 9: beside guides"):
        sample_looping(torch.zeros(1, 3, 9, 4, 4), Loop(tile=40, overlap=16, images={9: image}, guides=guides), _zeros)
    with pytest.raises(ValueError, match="0 < overlap < tile"):
        Loop(tile=24, overlap=24)
    assert tile_of_image(200, loop, 65) is None


def test_every_spatial_tile_of_the_loop_has_a_seed_of_its_own() -> None:
    seeds: list[int] = []

    def sample(call: LoopCall) -> Tensor:
        seeds.append(call.seed)
        return torch.ones_like(call.latent)

    loop = Loop(tile=40, overlap=16, spatial=SpatialPlan(rows=2, columns=2, overlap=3), seed=5)
    made = sample_looping(torch.zeros(1, 3, 9, 8, 9), loop, sample)
    assert torch.allclose(made, torch.ones(1, 3, 9, 8, 9), atol=1e-6)
    assert len(set(seeds)) == len(seeds) == 12
    assert min(seeds) == 5


def _looping_case() -> Case:
    paths = [root / "pipelines" / LOOPING for root in GOLDEN]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        pytest.skip(f"{LOOPING} is in none of the golden folders: calls of the looping sampler are NOT compared")
    case = read_case(path)
    assert case is not None
    return case


def test_the_loop_calls_the_sampler_as_the_node_pack_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shared test compares the result; here, what every call receives and gives."""
    case, seen = _looping_case(), []
    original = pipelines_comfy.loop_run

    def recorded(case: Case, transformer: Transformer, call: LoopCall, index: int) -> Tensor:
        made = original(case, transformer, call, index)
        seen.append((index, call, made))
        return made

    monkeypatch.setattr(pipelines_comfy, "loop_run", recorded)
    with torch.inference_mode():
        pipelines_comfy.looping(case)
    assert [index for index, _, _ in seen] == [0, 1, 2]
    for index, call, made in seen:
        guides = [item for item in call.items if isinstance(item, LatentGuide)]
        received = torch.cat([call.latent, *(item.latent for item in guides)], dim=2)
        frames = call.latent.shape[2]
        given = case.intermediate[f"call{index}_latent_out"][:, :, :frames]
        assert torch.allclose(received, case.intermediate[f"call{index}_latent_in"], atol=1e-4)
        assert torch.allclose(made, given, atol=1e-4)
        strengths = [item.strength for item in guides for _ in range(item.latent.shape[2])]
        masks = case.intermediate[f"call{index}_noise_mask"].flatten().tolist()
        assert masks == [1.0] * frames + [1 - strength for strength in strengths]


@pytest.fixture(scope="module")
def parts() -> Any:
    return LoadModel.execute("openltx-tiny-2.3.safetensors", INSIDE, "float32").args


def _run(parts: Any, latent: Any, **options: Any) -> Streams[Tensor]:
    prompts = EncodePrompts.execute(parts[1], "a ball\n---\na cube").args[0]
    guider = PresetGuider.execute(parts[0], prompts[:1], "none").args[0]
    sigmas = DistilledSchedule.execute("stage 2, several devices").args[0]
    settings = {"segment_seconds": 1.2, "overlap_seconds": 0.4, "audio_overlap_seconds": 0.6}
    strengths = {"overlap_strength": 0.5, "audio_strength": 1.0, "drift_control": options.pop("drift", 0.3)}
    with torch.inference_mode():
        made = SampleLong.execute(
            Noise.execute(1).args[0],
            guider,
            NamedRule(name="euler"),
            sigmas,
            latent,
            **settings,  # type: ignore[arg-type]
            **strengths,
            **options,
        )
    return members(made.args[0])


def test_the_node_makes_and_extends_a_clip_with_sound(parts: Any) -> None:
    latent = EmptyAVLatent.execute(parts[0], 64, 32, 49, 24.0).args[0]
    prompts = EncodePrompts.execute(parts[1], "a ball\n---\na cube").args[0]
    assert len(prompts) == 2
    one, again = _run(parts, latent), _run(parts, latent)
    other = _run(parts, latent, prompts=prompts)
    for stream, repeated, prompted in zip(one.present(), again.present(), other.present(), strict=True):
        assert bool(torch.isfinite(stream).all())
        assert torch.equal(stream, repeated)
        assert not torch.equal(stream, prompted)
    assert one.video is not None
    assert one.audio is not None
    assert (one.video.shape[2], one.audio.shape[2]) == (7, 51)

    longer = EmptyAVLatent.execute(parts[0], 64, 32, 81, 24.0).args[0]
    beginning = {"samples": joined(one), FRAME_RATE: 24.0}
    extended = _run(parts, longer, beginning=beginning, drift=0.0)
    assert extended.video is not None
    assert extended.audio is not None
    assert (extended.video.shape[2], extended.audio.shape[2]) == (11, 84)
    assert torch.equal(extended.video[:, :, :5], one.video[:, :, :5])
    assert torch.equal(extended.audio[:, :, :50], one.audio[:, :, :50])
    for wrong in ({**beginning, FRAME_RATE: 25.0}, {"samples": one.video, FRAME_RATE: 24.0}):
        with pytest.raises(ValueError, match="beginning: expected latents"):
            _run(parts, longer, beginning=wrong)


def test_given_sound_drives_a_long_clip(parts: Any) -> None:
    latent = EmptyAVLatent.execute(parts[0], 64, 32, 49, 24.0).args[0]
    audio = members(latent).audio
    assert audio is not None
    sound = _randn(*audio.shape)
    driven = with_audio_item(latent, GivenStream(latent=sound))
    video = members(latent).video
    assert video is not None
    made = _run(parts, with_video_item(driven, Keyframe(latent=_randn(*video[:, :, :1].shape), frame=40)))
    assert made.audio is not None
    assert torch.equal(made.audio, sound)


def test_prompts_without_text_and_noise_without_a_seed_are_refused(parts: Any) -> None:
    assert split_prompts("one\nmore\n ---\ntwo") == ["one\nmore", "two"]
    for bad in ("", "one\n---\n", "---"):
        with pytest.raises(ValueError, match="found an empty one"):
            split_prompts(bad)
    latent = EmptyAVLatent.execute(parts[0], 64, 32, 49, 24.0).args[0]
    with pytest.raises(ValueError, match="expected noise from a seed"):
        SampleLong.execute(
            object(),  # type: ignore[arg-type]
            PresetGuider.execute(parts[0], [], "none").args[0],
            NamedRule(name="euler"),
            torch.tensor([1.0, 0.0]),
            latent,
            *(1.2, 0.4, 0.4, 0.5, 1.0, 0.0),
        )
