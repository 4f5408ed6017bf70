"""A film from a shot list: rendered once, then only what changed; one sound track; the same from cache and without."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn.modules.module import register_module_forward_hook

import openltx
from openltx.cli import main
from openltx.media.av_reader import read_frames, read_sound
from openltx.media.av_writer import write_audio, write_av
from openltx.networks.transformer import Transformer
from openltx.nodes.guide import MultimodalGuider
from openltx.nodes.load import INSIDE, LoadModel
from openltx.nodes.rules import NamedRule
from openltx.nodes.shots.content import sound_of
from openltx.nodes.shots.file import ShotLatent
from openltx.nodes.shots.plan import ShotList
from openltx.nodes.shots.rendered import Rendered
from openltx.nodes.shots.sample import SampleShots, workshop
from openltx.nodes.shots.sound import FilmSound
from openltx.nodes.shots.workshop import Workshop
from openltx.reproduce import reproduce
from openltx.shots.assembly import Piece, spans
from openltx.shots.store import Store, usual_store

HEAD = "[film]\nwidth = 64\nheight = 64\nwindow = 1.0\noverlap = 0.4\n"
RED, BLUE, GREEN = (f"a {colour} ball bounces" for colour in ("red", "blue", "green"))
SIGMAS = torch.tensor([1.0, 0.6, 0.0])


def shot(prompt: str, length: float = 0.9, **more: Any) -> str:
    lines = [f"{key} = {json.dumps(value)}" for key, value in more.items()]
    return "\n".join(["[[shot]]", f"length = {length}", f'prompt = "{prompt}"', *lines]) + "\n"


JOINED: dict[str, Any] = {"transition": "overlap", "overlap": 0.5}
ON: dict[str, Any] = {"transition": "continue"}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OPENLTX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def parts() -> Any:
    return LoadModel.execute("openltx-tiny-2.3.safetensors", INSIDE, "float32").args


def shop_of(parts: Any, text: str, folder: str = "") -> Workshop:
    plan, first, *_ = ShotList.execute(parts[1], HEAD + text, folder).args
    guider = MultimodalGuider.execute(parts[0], first).args[0]
    return workshop(plan, guider, NamedRule(name="euler"), SIGMAS, parts[2], parts[3])


def rendered(parts: Any, text: str, folder: str = "") -> tuple[Rendered, str]:
    shop = shop_of(parts, text, folder)
    film, report = SampleShots.execute(shop.plan, shop.guider, shop.rule, shop.sigmas, parts[2], parts[3]).args
    return film, report


@contextmanager
def calls() -> Iterator[list[int]]:
    """Counts passes of the transformer."""
    found = [0]

    def count(module: torch.nn.Module, *_: object) -> None:
        found[0] += isinstance(module, Transformer)

    hook = register_module_forward_hook(count)
    try:
        yield found
    finally:
        hook.remove()


FILM = shot(RED) + shot(BLUE, **JOINED) + shot(GREEN, **JOINED) + shot(RED, **ON) + shot(BLUE, transition="cut")
EDITED = FILM.replace("green", "yellow")


def test_only_what_changed_is_rendered_and_that_as_with_an_empty_cache(
    parts: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with calls() as first:
        before, _ = rendered(parts, FILM)
    with calls() as again:
        same, report = rendered(parts, FILM)
    assert again == [0]
    assert report.endswith("nothing to render: all shots are in the cache")
    assert same.keys == before.keys
    with calls() as second:
        after, _ = rendered(parts, EDITED)
    assert 0 < second[0] < first[0]
    changed = {piece for piece, key in after.keys.items() if key != before.keys[piece]}
    assert changed == {Piece(2), Piece(2, True), Piece(3)}  # its take, its seam, the take that goes on from it
    monkeypatch.setenv("OPENLTX_CACHE", str(tmp_path / "empty"))
    fresh, _ = rendered(parts, EDITED)
    assert fresh.keys == after.keys
    for piece in after.keys:
        for one, other in zip(fresh.latents(piece).present(), after.latents(piece).present(), strict=True):
            assert torch.equal(one, other)


def test_calls_are_what_the_plan_says(parts: Any) -> None:
    shop = shop_of(parts, FILM)
    with calls() as found:
        SampleShots.execute(shop.plan, shop.guider, shop.rule, shop.sigmas, parts[2], parts[3])
    assert found[0] == sum(shop.calls(piece) for piece in shop.pieces)


def test_an_interrupted_film_goes_on_where_it_stopped(parts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, render = shop_of(parts, FILM), Workshop.render
    done: list[Piece] = []

    def stopping(self: Workshop, piece: Piece) -> None:
        if len(done) == 3:
            raise KeyboardInterrupt
        render(self, piece)
        done.append(piece)

    monkeypatch.setattr(Workshop, "render", stopping)
    with pytest.raises(KeyboardInterrupt):
        rendered(parts, FILM)
    monkeypatch.undo()
    monkeypatch.setenv("OPENLTX_CACHE", str(whole.store.folder.parent))
    with calls() as found:
        rendered(parts, FILM)
    assert found[0] == sum(whole.calls(piece) for piece in whole.pieces[3:])


def test_everything_that_shapes_a_shot_is_in_its_key(parts: Any, tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), "red").save(tmp_path / "a.png")
    folder = str(tmp_path)

    def key(text: str) -> str:
        return shop_of(parts, text, folder).key(Piece(0))

    base = shot(RED, seed=1)
    found = [key(base), key(shot(RED, seed=2)), key(shot(BLUE, seed=1)), key(shot(RED, 1.4, seed=1))]
    found += [key(shot(RED, seed=1, first="a.png"))]
    found += [key("drift_control = 0.5\n" + base), key("hold = 0.6\n" + base)]
    Image.new("RGB", (64, 64), "blue").save(tmp_path / "a.png")
    found += [key(shot(RED, seed=1, first="a.png"))]
    assert len(set(found)) == len(found)
    assert key(base) == key("# a note\n" + base.replace("[[shot]]", '[[shot]]\nname = "n"'))
    assert key(base) == key(base + shot(GREEN, **JOINED)), "a neighbour that only overlaps shapes the seam"


def test_a_continued_shot_begins_with_the_end_of_the_one_before(parts: Any) -> None:
    film, _ = rendered(parts, shot(RED) + shot(RED, **ON))
    one, two = (film.latents(Piece(number)) for number in (0, 1))
    take = film.timeline.takes[1]
    assert one.audio is not None
    assert two.audio is not None
    assert one.video is not None
    assert two.video is not None
    assert torch.equal(one.video[:, :, -take.lead], two.video[:, :, 0])  # it is not used: its own time is another
    shared = two.audio.shape[2] - one.audio.shape[2]
    assert torch.equal(one.audio[:, :, -4:], two.audio[:, :, -4 - take.frames * 8 * 25 // 24 :][:, :, :4]) or shared
    assert [(span.piece.take, span.first) for span in spans(film.timeline, 0)] == [(0, 0), (1, 1)]


def test_a_seam_keeps_what_lies_around_it(parts: Any) -> None:
    film, _ = rendered(parts, shot(RED) + shot(BLUE, **JOINED))
    seam = film.timeline.takes[1].seam
    assert seam is not None
    window, one, two = (film.latents(piece).video for piece in (Piece(1, True), Piece(0), Piece(1)))
    assert window is not None
    assert one is not None
    assert two is not None
    end = one.shape[2] - seam.before
    assert torch.equal(window[:, :, : seam.given], one[:, :, end - seam.given : end])
    assert torch.equal(window[:, :, -seam.given :], two[:, :, seam.after : seam.after + seam.given])
    made = window[:, :, seam.given : -seam.given]
    sides = torch.cat([one[:, :, end:], two[:, :, : seam.after]], dim=2)
    assert not torch.isclose(made, sides).flatten(3).all(dim=3).any(), "every frame between is made anew"


def test_a_film_becomes_a_file_of_its_length_and_frames_are_decoded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from openltx.nodes.shots import rendered as module

    settings = {"Save.codec": "ffv1"}
    outputs = [tmp_path / "one.mkv", tmp_path / "two.mkv"]
    openltx.run("shots", shots=HEAD + FILM, steps=1, output=outputs[0], settings=settings)
    monkeypatch.setattr(module, "decoded_frames", None)
    openltx.run("shots", shots=HEAD + FILM, steps=1, output=outputs[1], settings=settings)
    frames, sound = read_frames(outputs[0]), read_sound(outputs[0])
    assert torch.equal(frames, read_frames(outputs[1]))
    assert sound is not None
    assert abs(sound.waveform.shape[1] / sound.sample_rate - len(frames) / 24) < 0.05
    assert float(sound.waveform.abs().max()) > 0


def test_a_shot_is_decoded_with_its_neighbours(parts: Any) -> None:
    """At its borders it differs little from what the whole scene decodes to in one go."""
    film, _ = rendered(parts, shot(RED, 2.1) + shot(RED, 2.1, **ON))
    whole = torch.cat(list(film.frames(parts[2])))
    from openltx.nodes.frames import decoded_frames

    once = torch.cat(list(decoded_frames(parts[2].decoder, film.video(spans(film.timeline, 0)))))
    assert whole.shape == once.shape
    assert float((whole - once).abs().max()) < 4 / 255


# sound


class Tone:
    """FilmSound whose pieces are a steady tone of the film's own time, with a step of loudness at each cut."""

    def __init__(self, film: Rendered, monkeypatch: pytest.MonkeyPatch, rate: int = 8000) -> None:
        def wave(self: FilmSound, entry: Any) -> Tensor:
            count = 3 * self.rate
            times = torch.arange(count) / self.rate + float(entry.zero)
            return (torch.sin(times * 880) * (1.0 if entry.piece.take % 2 else 0.5)).expand(2, -1)

        monkeypatch.setattr(FilmSound, "_waveform", wave)
        self.sound = FilmSound(rendered=film, audio_vae=None, rate=rate)  # type: ignore[arg-type]


def test_the_track_is_continuous_and_as_long_as_the_film(parts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = shop_of(parts, FILM)
    sound = Tone(shop.rendered(), monkeypatch).sound
    blocks: list[Tensor] = []
    while (block := sound(sum(b.shape[1] for b in blocks), 777)).shape[1]:
        blocks.append(block)
    track = torch.cat(blocks, dim=1)
    assert track.shape == (2, round(shop.plan.timeline.frames / 24 * 8000))
    jumps = (track[:, 1:] - track[:, :-1]).abs()
    assert float(jumps.max()) <= 880 / 8000 * 1.01, "no jump beyond those of the tone itself"


def test_a_sound_track_lies_under_or_is_the_film(parts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    time_axis = torch.arange(8000 * 5) / 8000
    music = (0.25 * torch.sin(time_axis * 660)).expand(2, -1)
    write_audio(tmp_path / "music.flac", music, sample_rate=8000)
    found = {}
    for use in ("under", "given"):
        text = f'[soundtrack]\nfile = "music.flac"\nuse = "{use}"\ngain = -6.0206\n' + shot(RED) + shot(BLUE)
        film = shop_of(parts, text, str(tmp_path)).rendered()
        found[use] = torch.cat(list(Tone(film, monkeypatch).sound.blocks()), dim=1)
    plain = torch.cat(list(Tone(shop_of(parts, shot(RED) + shot(BLUE)).rendered(), monkeypatch).sound.blocks()), dim=1)
    count = plain.shape[1]
    assert float((found["given"] - music[:, :count]).abs().max()) < 1e-3
    assert float((found["under"] - plain - 0.5 * music[:, :count]).abs().max()) < 1e-3


def test_sound_of_a_part_of_a_file(tmp_path: Path) -> None:
    write_audio(tmp_path / "a.wav", torch.full((2, 8000), 0.5), sample_rate=8000)
    early, late = sound_of(tmp_path / "a.wav", -0.5, 1.0), sound_of(tmp_path / "a.wav", 0.5, 1.0)
    beyond = sound_of(tmp_path / "a.wav", 7.0, 0.5)
    assert early["waveform"].shape == late["waveform"].shape == (1, 2, 8000)
    assert float(early["waveform"][..., :4000].abs().max()) == float(late["waveform"][..., 4000:].abs().max()) == 0
    assert abs(float(early["waveform"][0, 0, -1]) - 0.5) < 1e-3
    assert float(beyond["waveform"].abs().max()) == 0
    write_av(tmp_path / "silent.mp4", [torch.rand(9, 32, 32, 3)], frame_rate=24)
    with pytest.raises(ValueError, match="expected a sound track"):
        sound_of(tmp_path / "silent.mp4")


# content


def test_pictures_sounds_and_control_clips_of_shots(parts: Any, tmp_path: Path) -> None:
    """Each changes what is rendered, alone and after a shot that goes on."""
    Image.new("RGB", (64, 64), "red").save(tmp_path / "a.png")
    write_audio(tmp_path / "a.wav", torch.rand(2, 32000) - 0.5, sample_rate=16000)
    write_av(tmp_path / "a.mp4", [torch.rand(33, 64, 64, 3)], frame_rate=24)
    cast = '[cast.anna]\ntext = "a red ball"\nvoice = "a.wav"\nimage = "a.png"\n'
    others: list[dict[str, Any]] = [
        {},
        {"first": "a.png"},
        {"last": "a.png"},
        {"images": [{"file": "a.png", "at": 0.5}]},
        {"audio": "a.wav"},
        {"voice": "a.wav"},
        {"control": {"file": "a.mp4"}},
    ]
    found = []
    for join in ({}, ON):
        for more in others:
            given = ", ".join(f"{name} = {_toml(value)}" for name, value in more.items())
            text = shot(BLUE, seed=1) * bool(join) + shot(RED, seed=2, **join) + given.replace(", i", "\ni") + "\n"
            film, _ = rendered(parts, text, str(tmp_path))
            found.append(film.latents(Piece(len(film.timeline.takes) - 1)).video)
    found.append(rendered(parts, cast + shot("{anna} bounces", seed=2), str(tmp_path))[0].latents(Piece(0)).video)
    for place, one in enumerate(found):
        for other in found[place + 1 :]:
            assert one is not None
            assert other is not None
            assert one.shape != other.shape or not torch.equal(one, other)


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {_toml(entry)}" for name, entry in value.items()) + "}"
    return "[" + ", ".join(map(_toml, value)) + "]" if isinstance(value, list) else json.dumps(value)


def test_given_sound_is_kept_as_it_is(parts: Any, tmp_path: Path) -> None:
    music = 0.25 * torch.sin(torch.arange(48000 * 2) / 30).expand(2, -1)
    write_audio(tmp_path / "a.wav", music, sample_rate=48000)
    text = shot(RED, audio="a.wav") + shot(BLUE, audio="a.wav")
    film, _ = rendered(parts, text, str(tmp_path))
    track = torch.cat(list(FilmSound.of(film, parts[3]).blocks()), dim=1)
    start = round(film.timeline.takes[1].start / 24 * 48000)
    assert float((track[:, 1000:start] - music[:, 1000:start]).abs().max()) < 1e-3
    rest = track[:, start + 1000 :]
    assert float((rest - music[:, 1000 : 1000 + rest.shape[1]]).abs().max()) < 1e-3


def test_what_goes_wrong_in_a_shot_names_it_and_its_line(parts: Any, tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), "red").save(tmp_path / "a.png")
    text = shot(RED, images=[]) + shot(BLUE) + 'images = [{file = "a.png", at = 5}]\n'
    with pytest.raises(ValueError, match=r"^line 13: shot '2': images: expected a time within"):
        rendered(parts, text, str(tmp_path))
    shop = shop_of(parts, shot(RED, first="a.png"), str(tmp_path))
    with pytest.raises(ValueError, match=r"^line 6: shot '1': pictures and clips need a VAE, found none"):
        SampleShots.execute(shop.plan, shop.guider, shop.rule, shop.sigmas)
    film, _ = rendered(parts, shot(RED))
    with pytest.raises(ValueError, match="expected one of 1, found 'x'"):
        ShotLatent.execute(film, "x")
    usual_store().clear()
    with pytest.raises(ValueError, match="found it removed meanwhile; run again"):
        ShotLatent.execute(film, "1")


# the store


def _entry(store: Store, key: str, size: int = 1000, used: float | None = None) -> None:
    store.put(key, {"kind": "take", "shot": key}, lambda folder: void((folder / "a").write_bytes(b"x" * size)))
    if used is not None:
        os.utime(store.folder / key / "told.json", (used, used))


def void(_: object) -> None:
    pass


def test_the_store_is_bounded_and_lets_the_oldest_go(tmp_path: Path) -> None:
    for number, key in enumerate("abc"):
        _entry(Store(tmp_path, 10**6), key, used=1000.0 + number)
    store = Store(tmp_path, 3500)
    assert store.found("a") is not None  # used now, by this one
    _entry(store, "d")
    assert {entry.key for entry in store.entries()} == {"a", "c", "d"}
    assert sum(entry.bytes for entry in store.entries()) <= 3500
    assert [entry.key for entry in store.entries()][-1] == "c"
    assert Store(tmp_path, 0).make_room() > 3000
    assert store.entries() == []


def test_an_entry_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    store = Store(tmp_path, 10**6)

    def failing(folder: Path) -> None:
        (folder / "a").write_bytes(b"x")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.put("a", {}, failing)
    assert store.found("a") is None
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "b").mkdir()  # of a process that made entries another way
    assert store.found("b") is None
    _entry(store, "b")
    assert store.found("b") is not None
    _entry(store, "b", size=5)
    assert (tmp_path / "b" / "a").stat().st_size == 1000, "the first one stays"
    left = tmp_path / ".c.12345678"
    left.mkdir()
    os.utime(left, (time.time() - 10**6,) * 2)
    _entry(store, "c")
    assert not left.exists()


def test_the_limit_and_the_place_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OPENLTX_CACHE", str(tmp_path))
    monkeypatch.setenv("OPENLTX_CACHE_GB", "0.5")
    assert (usual_store().folder, usual_store().limit) == (tmp_path / "shots", 5 * 10**8)
    monkeypatch.setenv("OPENLTX_CACHE_GB", "much")
    with pytest.raises(ValueError, match="expected a number of gigabytes, found 'much'"):
        usual_store()


def test_a_reproduced_film_is_rendered_anew(tmp_path: Path) -> None:
    film = HEAD + shot(RED) + shot(BLUE, **JOINED)
    openltx.run("shots", shots=film, steps=1, output=tmp_path / "film.mp4")
    with calls() as found:
        result = reproduce(tmp_path / "film.mp4")
    assert found[0] > 0
    assert result.same_latents


# the command line


def test_a_film_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "film.shots.toml"
    Image.new("RGB", (64, 64), "red").save(tmp_path / "a.png")  # named from the file's own folder
    file.write_text(HEAD + shot(RED, first="a.png") + shot(BLUE, **JOINED), encoding="utf-8")
    asked = ["generate", "--shots", str(file), "--steps", "1", "--guidance", "1"]
    sheet = tmp_path / "sheet.png"
    assert main([*asked, "--plan", "-o", str(sheet)]) == 0
    assert "3 calls of the denoiser, how long is known after the first shot" in capsys.readouterr().out
    assert main([*asked, "-o", str(tmp_path / "film.mp4")]) == 0
    assert (tmp_path / "film.mp4").is_file()
    capsys.readouterr()
    assert main([*asked, "--plan", "--json", "-o", str(sheet)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["files"] == [str(sheet)]
    assert told["plan"].endswith("nothing to render: all shots are in the cache")
    with Image.open(sheet) as picture:
        colours = picture.convert("RGB").getcolors(10**6)
    assert colours is not None
    assert len(colours) > 50, "frames of the shots"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["generate"], "expected a PROMPT, or --shots FILE"),
        (["generate", "x", "--plan"], "expected a PROMPT, or --shots FILE"),
        (["generate", "x", "--shots", "{bad}"], "found both"),
        (["generate", "--shots", "{bad}.not"], "it cannot be read"),
        (["generate", "--shots", "{bad}"], "line 2: film: widht: no such key; the nearest is width"),
    ],
)
def test_mistakes_on_the_command_line(
    words: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text("[film]\nwidht = 3\n" + shot(RED), encoding="utf-8")
    assert main([word.format(bad=bad) for word in words]) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert reason in told[-1]


def test_the_cache_is_listed_measured_and_cleared(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for key in "ab":
        _entry(usual_store(), key)
    assert main(["workflows", "cache"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert "2 entries, 0.0 MB of at most 20000" in lines[-1]
    assert main(["workflows", "cache", "--json"]) == 0
    assert {row["shot"] for row in json.loads(capsys.readouterr().out)["entries"]} == {"a", "b"}
    assert main(["workflows", "cache", "--size"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert main(["workflows", "cache", "--clear"]) == 0
    assert "0 entries, 0.0 MB of at most 20000, 2 removed" in capsys.readouterr().out
    assert list((cache / "shots").iterdir()) == []
