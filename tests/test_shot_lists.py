"""Shot lists: a text becomes a film, mistakes are one line with their line number, times lie on latent frames."""

from __future__ import annotations

import re
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from openltx.shots.assembly import Piece, part, sounds, spans, stretches
from openltx.shots.film import Film
from openltx.shots.keys import key_of
from openltx.shots.lines import Lines
from openltx.shots.reading import read_film
from openltx.shots.table import Work, planned
from openltx.shots.timeline import lay_out
from openltx.shots.times import Time, time_of

HEAD = "[film]\nwidth = 64\nheight = 32\nwindow = 2.0\noverlap = 0.7\n"  # five lines


def _find(name: str) -> Path:
    if name.startswith("missing"):
        raise ValueError(f"input file: expected a file in input, found {name!r}")
    return Path(name)


def film(text: str) -> Film:
    return read_film(text, find=_find, find_lora=_find)


def shots(*bodies: str) -> Film:
    return film(HEAD + "".join(f"[[shot]]\n{body}\n" for body in bodies))


def refused(text: str) -> str:
    """The error of a text, from reading or from laying it out."""
    with pytest.raises(ValueError, match="^line ") as caught:
        lay_out(film(text))
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_film_is_what_its_text_says() -> None:
    found = film(
        'title = "T"\n' + HEAD + "seed = 3\n"
        '[style]\ntext = "at dusk"\n'
        '[cast.anna]\ntext = "Anna, {coat}"\nvoice = "anna.wav"\nimage = "anna.png"\n'
        '[cast.coat]\ntext = "in a red coat"\n'
        '[soundtrack]\nfile = "music.flac"\ngain = -12\n'
        '[[shot]]\nname = "one"\nlength = "0:02.5"\nprompt = "{anna} walks"\nfirst = "a.png"\n'
        'images = [{file = "b.png", at = "24 frames", strength = 0.5}]\n'
        'loras = [{file = "x.safetensors", strength = 0.5}]\n'
        '[shot.control]\nfile = "depth.mp4"\nattention = 0.5\n'
        '[[shot]]\nname = "two"\nlike = "one"\nprompt = "rain"\ntransition = "overlap"\noverlap = 0.6\nseed = 9\n'
    )
    one, two = found.shots
    assert one.text == "Anna, in a red coat walks, at dusk"
    assert (one.voices, one.references) == ((Path("anna.wav"),), (Path("anna.png"),))
    assert [(picture.at, picture.strength) for picture in one.pictures] == [("first", 1.0), (Time(24, True), 0.5)]
    assert one.control is not None
    assert (one.control.path, one.control.attention) == (Path("depth.mp4"), 0.5)
    assert (one.length, one.loras[0].strength, one.line) == (Time(2.5), 0.5, 19)
    assert (two.text, two.voices, two.length, two.pictures) == ("rain, at dusk", (), one.length, one.pictures)
    assert (two.transition, two.overlap, two.seed) == ("overlap", 0.6, 9)
    assert found.soundtrack is not None
    assert (found.soundtrack.use, found.soundtrack.gain) == ("under", -12.0)
    assert Path("b.png") in found.files()


def test_shots_without_a_seed_have_one_by_their_name() -> None:
    """So that neither equal texts give equal shots, nor a new shot before it changes a shot."""
    body = 'length = 2\nprompt = "rain"\nname = '
    first, second = shots(body + '"a"', body + '"b"').shots
    assert first.seed != second.seed
    assert shots('length = 1\nprompt = "x"', body + '"b"').shots[1].seed == second.seed


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, Time(3.0)),
        (0.5, Time(0.5)),
        ("3.5", Time(3.5)),
        ("3.5 s", Time(3.5)),
        ("0:03.5", Time(3.5)),
        ("1:02:03", Time(3723.0)),
        ("84 frames", Time(84.0, True)),
        ("1 frame", Time(1.0, True)),
        *[(bad, None) for bad in ("", "x", "-1", -1, True, "1:2:3:4", "3 m", None, float("nan"), float("inf"))],
    ],
)
def test_times(value: object, expected: Time | None) -> None:
    assert time_of(value) == expected


def test_lines_of_keys_tables_and_texts_over_several_lines() -> None:
    text = '# a [film]\ntitle = """x\n[[shot]]\n"""\n[film] # c\nwidth = 1\n[[shot]]\ntext = \'a\'\nimages = [\n'
    text += '  {file = "]"},\n]\nseed = 1\n\n[shot.control]\nfile = "x"\n[[shot]]\n"text" = "y"\na.b = 2\n'
    lines = Lines(text)
    places = {
        ("title",): 2,
        ("film", "width"): 6,
        ("shot", 0, "text"): 8,
        ("shot", 0, "images", 0, "file"): 9,
        ("shot", 0, "seed"): 12,
        ("shot", 0, "control", "file"): 15,
        ("shot", 1): 16,
        ("shot", 1, "text"): 17,
        ("shot", 1, "a", "b"): 18,
        ("shot", 1, "missing"): 16,
    }
    assert {place: lines.of(place) for place in places} == places


ONE = '[[shot]]\nname = "a"\nlength = 2\nprompt = "x"\n'  # lines 6 to 9


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (HEAD + ONE + '[[shot]]\nat = 1.5\nlength = 1\nprompt = "y"\n', 10, "times overlap"),
        (HEAD + ONE + '[[shot]]\nat = 3\nlength = 1\nprompt = "y"\n', 10, "nothing is between"),
        (HEAD + '[[shot]]\nat = 1\nlength = 1\nprompt = "y"\n', 6, "expected 0 for the first shot"),
        (HEAD + ONE + 'first = "missing.png"\n', 10, "found 'missing.png'"),
        (HEAD + ONE + 'images = [\n{file = "missing.png", at = 1}]\n', 10, "images 1: file: input file"),
        (HEAD + '[[shot]]\nlength = 0.2\nprompt = "x"\n', 6, "one latent frame, 8 frames (0.333 s), found 0.2 s"),
        (HEAD + ONE + 'promt = "x"\n', 10, "promt: no such key; the nearest is prompt"),
        (HEAD + ONE + 'lenght = 3\n', 10, "lenght: no such key; the nearest is length"),
        (HEAD + "widht = 3\n" + ONE, 6, "widht: no such key; the nearest is width"),
        (HEAD + ONE + "[styl]\n", 10, "styl: no such key; the nearest is style"),
        (HEAD + ONE + 'like = "b"\n[[shot]]\nname = "b"\nlike = "a"\n', 13, "found a is like b is like a"),
        (HEAD + ONE + 'like = "a"\n', 10, "expected no cycle"),
        (HEAD + '[cast.x]\ntext = "{y}"\n[cast.y]\ntext = "{x}"\n' + ONE, 9, "no cycle of references, found x → y → x"),
        (HEAD + '[[shot]]\nlength = 2\nprompt = "{bob}"\n', 8, "expected a name of the cast, found {bob}"),
        (HEAD + ONE + 'transition = "continue"\n', 10, "'cut' for the first shot"),
        (HEAD + ONE + ONE, 11, "no other shot has, found 'a' again"),
        (HEAD + ONE + '[[shot]]\nlength = 2\nprompt = "y"\ntransition = "dissolve"\n', 13, "the nearest is"),
        (HEAD + ONE + '[[shot]]\nlength = 0.4\nprompt = "y"\ntransition = "overlap"\noverlap = 1\n', 10, "longer"),
        (HEAD + ONE + '[[shot]]\nlength = 9\nprompt = "y"\ntransition = "overlap"\noverlap = 9\n', 10, "at most"),
        (HEAD + '[[shot]]\nlength = 2\n', 6, "prompt: expected a text, found none; add it"),
        (HEAD + '[[shot]]\nlength = "two"\nprompt = "x"\n', 7, "expected a time"),
        (HEAD + '[[shot]]\nprompt = "x"\n', 6, "expected the shot's length, found none"),
        ("[film]\nwidth = 100\n" + ONE, 2, "a multiple of 32, found 100; use 96"),
        ("[film]\nwindow = 0.5\noverlap = 1\n" + ONE, 1, "more than the overlap of 1 s"),
        (HEAD + "[[shot]\n", 6, "expected a shot list in TOML"),
        (HEAD, 1, "expected at least one [[shot]]"),
        (HEAD + ONE + 'seed = "x"\n', 10, "expected a whole number from 0"),
        (HEAD + ONE + '[soundtrack]\nuse = "given"\n', 10, "expected a sound file, found none"),
        (HEAD + ONE + 'voice = "missing.wav"\n', 10, "voice: input file"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_with_its_line_number(text: str, line: int, words: str) -> None:
    message = refused(text)
    assert message.startswith(f"line {line}: "), message
    assert words in message


VALUES = [
    "3",
    "-1",
    '"x"',
    "[]",
    "{}",
    "[1]",
    "[{}]",
    "true",
    "1979-05-27",
    "inf",
    '"""a\nb"""',
    '"{a}"',
    "'",
    "[[shot]]",
]
KEYS = ["title", "film", "width", "fps", "cast", "cast.a", "cast.a.text", "style", "shot", "name", "length", "at"]
KEYS += ["like", "prompt", "first", "images", "control", "loras", "seed", "transition", "overlap", "voice", "x y", ""]
HEADERS = ["", "", "", "[film]", "[[shot]]", "[cast.b]", "[shot.control]"]
STATEMENTS = st.tuples(st.sampled_from(HEADERS), st.sampled_from(KEYS), st.sampled_from(VALUES))


@settings(max_examples=300, deadline=None)
@given(st.lists(STATEMENTS, max_size=4))
def test_whatever_the_text_is_it_is_a_film_or_one_line(statements: list[tuple[str, str, str]]) -> None:
    text = "".join(f"{header}\n{key} = {value}\n" for header, key, value in statements)
    for whole in (text, HEAD + ONE + text, text + ONE):
        error = _error_of(whole)
        number = re.match(r"line (\d+): ", error)
        assert not error or number is not None, error
        assert number is None or 1 <= int(number[1]) <= whole.count("\n") + 1, error
        assert "\n" not in error


def _error_of(text: str) -> str:
    """Of a text that may be none; nothing but ValueError is raised."""
    try:
        lay_out(film(text))
    except ValueError as error:
        return str(error)
    return ""


def test_mistakes_name_their_shot() -> None:
    assert refused(HEAD + ONE + "x = 1\n").startswith("line 10: shot 'a': ")
    assert refused(HEAD + ONE + "[[shot]]\nlength = 1\n").startswith("line 10: shot '2': ")


def test_times_of_shots_with_at_do_not_drift() -> None:
    bodies = [f'at = {1.4 * number}\nprompt = "x"\ntransition = "cut"' for number in range(20)]
    bodies[-1] += "\nlength = 1.4"
    for number, take in enumerate(lay_out(shots(*bodies)).takes):
        assert abs(take.start / 24 - 1.4 * number) <= 4.5 / 24


def test_a_shot_is_as_long_whatever_the_others_are() -> None:
    """Else a change of one would render others anew."""
    body = 'length = 1.9\nprompt = "x"'
    for first in (0.5, 1.0, 2.2, 3.3):
        takes = lay_out(shots(f'length = {first}\nprompt = "y"', body, body + '\ntransition = "continue"')).takes
        assert [take.whole for take in takes[1:]] == [7, 6 + 3]


TRANSITIONS = st.sampled_from(["cut", "continue", "overlap"])
SHOTS = st.lists(st.tuples(st.floats(2.0, 9.0), TRANSITIONS), min_size=1, max_size=9)


@settings(max_examples=60, deadline=None)
@given(SHOTS, st.sampled_from([12.5, 23.976, 24.0, 25.0, 30.0, 60.0]))
def test_pictures_and_sound_cover_the_film_without_a_gap(found: list[tuple[float, str]], fps: float) -> None:
    bodies = [
        f'length = {length}\nprompt = "x"\noverlap = 0.6' + (f'\ntransition = "{transition}"' if number else "")
        for number, (length, transition) in enumerate(found)
    ]
    timeline = lay_out(film(HEAD + f"fps = {fps}\n" + "".join(f"[[shot]]\n{body}\n" for body in bodies)))
    for one, two in pairwise(timeline.takes):
        assert two.start == one.start + one.pixels
    for scene in {take.scene for take in timeline.takes}:
        own = [take for take in timeline.takes if take.scene == scene]
        whole = spans(timeline, scene)
        assert sum(span.end - span.first for span in whole) == sum(take.frames for take in own)
        assert sum(take.pixels for take in own) == 8 * (sum(take.frames for take in own) - 1) + 1
        assert part(whole, 0, 10**6) == whole
        assert all(0 <= span.first < span.end for span in whole)
        pieces = stretches(timeline, scene)
        assert [pieces[0].first, *(piece.end for piece in pieces)] == [
            0,
            *(p.first for p in pieces[1:]),
            pieces[-1].end,
        ]
        assert pieces[-1].end == sum(take.frames for take in own)
        for piece in pieces:
            take = timeline.takes[piece.take]
            assert piece.border or take.first <= piece.first < piece.end <= take.first + take.frames
            kinds = {span.piece for span in part(whole, piece.first, piece.end)}
            assert piece.border or kinds == {Piece(piece.take)}, "what is decoded alone is of one take"
    rate = Fraction(fps).limit_denominator(1001)
    heard = sounds(timeline, rate)
    for before, after in pairwise(heard):
        assert before.since < after.since
        assert after.cut or (after.zero - before.zero) * 25 == int((after.zero - before.zero) * 25)
    for entry in heard:
        if not entry.piece.seam:
            assert abs(float(entry.zero) - timeline.takes[entry.piece.take].origin / fps) <= 0.0201


def test_a_part_of_a_scene() -> None:
    timeline = lay_out(
        shots('length = 2\nprompt = "x"', 'length = 2\nprompt = "y"\ntransition = "overlap"\noverlap = 0.6')
    )
    whole = spans(timeline, 0)
    assert [span.piece for span in whole] == [Piece(0), Piece(1, True), Piece(1)]
    first, end = whole[0].end - 1, whole[0].end + 1
    assert [(span.piece, span.end - span.first) for span in part(whole, first, end)] == [
        (Piece(0), 1),
        (Piece(1, True), 1),
    ]


def test_keys_tell_everything_apart(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(b"one")
    values: list[object] = [
        None,
        "a",
        1,
        1.5,
        True,
        [1, 2],
        [[1], 2],
        {"a": 1},
        torch.zeros(2),
        torch.zeros(2, dtype=torch.int32),
    ]
    values += [torch.zeros(1, 2), torch.ones(2), file, Fraction(1, 3), Fraction(1, 4), Time(1.0), Time(1.0, True)]
    keys = [key_of("take", value=value) for value in values]
    file.write_bytes(b"another")
    keys += [key_of("take", value=file), key_of("seam", value=None)]
    assert len(set(keys)) == len(keys)
    assert keys == [*keys[: len(values)], *keys[len(values) :]]
    assert key_of("take", value=torch.zeros(2)) == keys[8]


def test_the_table_says_what_is_rendered_and_for_how_long() -> None:
    found = shots('length = 2\nprompt = "x"', 'length = 2\nprompt = "y"\ntransition = "overlap"\noverlap = 0.6')
    lines = planned(found, [Work(calls=0, seam_calls=0, seconds=0.0), Work(calls=4, seam_calls=2, seconds=90.0)])
    assert "from cache" in lines.splitlines()[1]
    assert "render" in lines.splitlines()[2]
    assert lines.splitlines()[3] == "6 calls of the denoiser, about 1 min 30 s"
    unknown = planned(found, [Work(calls=0, seam_calls=0, seconds=0.0), Work(calls=4, seam_calls=2, seconds=None)])
    assert unknown.endswith("how long is known after the first shot")
