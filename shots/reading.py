"""Text → film. Whatever is wrong with it is one ValueError of one line that names the shot and the line number."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any
from typing import cast as typed
from zlib import crc32

from .casting import Cast, read_cast
from .film import TRANSITIONS, USES, Control, Film, LoraChoice, Picture, Shot, Soundtrack, Transition
from .lines import Lines
from .tables import Find, Table

FILM = {"width": (768, 32, 16384), "height": (512, 32, 16384)}
SEEDS = 2**63 - 1  # what TOML can hold
LORA_LIMIT = 10.0


def read_film(text: str, *, find: Find, find_lora: Find) -> Film:
    """The film of a TOML text. find: a media file by its name; find_lora: a LoRA by its name."""
    tables, lines = _toml(text), Lines(text)
    root = Table(tables, (), lines, label="")
    cast = read_cast(root, find)
    settings = root.table("film") or Table({}, (), lines, label="film")
    shots = _shots(root, tables, lines, settings, cast, find=find, find_lora=find_lora)
    film = Film(
        title=root.text("title", ""),
        width=_size(settings, "width"),
        height=_size(settings, "height"),
        fps=settings.number("fps", 24.0, 1.0, 240.0),
        window=settings.number("window", 5.0, 0.1, 60.0),
        overlap=settings.number("overlap", 1.0, 0.04, 30.0),
        hold=settings.number("hold", 0.5, 0.0, 1.0),
        drift=settings.number("drift_control", 0.0, 0.0, 1.0),
        shots=tuple(shots),
        soundtrack=_soundtrack(root, find),
    )
    settings.finish()
    root.finish(("film", "cast", "style", "shot", "soundtrack"))
    return film


def _toml(text: str) -> dict[str, Any]:
    if sys.version_info >= (3, 11):  # here: an old Python without tomli can still do everything else
        import tomllib
    else:
        import tomli as tomllib
    try:
        tables: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"line (\d+)", str(error))
        line = found[1] if found else str(text.count("\n") + 1)
        raise ValueError(f"line {line}: expected a shot list in TOML, found a mistake: {error}") from error
    return tables


def _size(settings: Table, key: str) -> int:
    default, low, high = FILM[key]
    pixels = settings.whole(key, default, low, high)
    if pixels % 32:
        settings.expect(key, "a multiple of 32", f"{pixels}; use {max(round(pixels / 32), 1) * 32}")
    return pixels


def _soundtrack(root: Table, find: Find) -> Soundtrack | None:
    table = root.table("soundtrack")
    if table is None:
        return None
    path = table.file("file", find)
    if path is None:
        table.expect("file", "a sound file", "none; add it")
    track = Soundtrack(path=path, use=table.choice("use", USES, "under"), gain=table.number("gain", 0.0, -60.0, 20.0))
    table.finish()
    return track


def _shots(
    root: Table, tables: Mapping[str, Any], lines: Lines, settings: Table, cast: Cast, *, find: Find, find_lora: Find
) -> list[Shot]:
    found = root.tables("shot")
    if not found:
        raise ValueError("line 1: film: expected at least one [[shot]], found none; add one")
    labelled = _named(tables["shot"], lines)
    names = list(labelled)
    chains = {name: _like_chain(name, labelled) for name in names}
    made: list[Shot] = []
    for place, name in enumerate(names):
        table = _with_likes(chains[name], tables["shot"], names, lines)
        made.append(_shot(table, name, place, settings, cast, find=find, find_lora=find_lora))
    return made


def _named(entries: Sequence[Mapping[str, Any]], lines: Lines) -> dict[str, Table]:
    """Shots by their names; without one they are called by their number."""
    named: dict[str, Table] = {}
    for place, entry in enumerate(entries):
        table = Table(entry, ("shot", place), lines, label=f"shot {place + 1}")
        name = table.text("name", str(place + 1))
        if name in named:
            table.refuse("name", f"name: expected one that no other shot has, found {name!r} again")
        named[name] = Table(entry, ("shot", place), lines, label=f"shot {name!r}")
    return named


def _like_chain(name: str, labelled: Mapping[str, Table]) -> list[str]:
    """The shot, the one that it is like, and so on. ValueError for a cycle."""
    chain = [name]
    while "like" in (table := labelled[chain[-1]]):
        wanted = table.choice("like", list(labelled), "")
        if wanted in chain:
            cycle = " is like ".join([*chain[chain.index(wanted) :], wanted])
            table.refuse("like", f"like: expected no cycle, found {cycle}; give one of them its own values")
        chain.append(wanted)
    return chain


def _with_likes(chain: list[str], entries: Sequence[Mapping[str, Any]], names: list[str], lines: Lines) -> Table:
    table: Table | None = None
    for name in reversed(chain):
        place = names.index(name)
        values = dict(entries[place])
        if name != chain[0]:  # a name and a place in time are one shot's own
            values = {key: value for key, value in values.items() if key not in ("name", "at", "like")}
        table = Table(values, ("shot", place), lines, label=f"shot {name!r}", like=table)
    assert table is not None
    return table


def _shot(table: Table, name: str, place: int, settings: Table, cast: Cast, *, find: Find, find_lora: Find) -> Shot:
    table.text("name", "")
    table.text("like", "")
    told = cast.told(table, "prompt")
    usual = settings.choice("transition", TRANSITIONS, "cut")
    transition = table.choice("transition", TRANSITIONS, usual if place else "cut")
    if transition != "cut" and not place and table.own("transition"):
        table.expect("transition", "'cut' for the first shot", f"{transition!r}; nothing is before it")
    voice = table.file("voice", cast.voice_or(find))
    shot = Shot(
        name=name,
        line=table.line,
        text=told.text,
        at=table.time("at"),
        length=table.time("length"),
        seed=table.whole("seed", settings.whole("seed", 10, 0, SEEDS // 2) + crc32(name.encode()), 0, SEEDS),
        transition=_transition(transition if place else "cut"),
        overlap=table.number("overlap", 1.0, 0.1, 60.0),
        pictures=tuple(_pictures(table, find)),
        control=_control(table, find),
        audio=table.file("audio", find),
        voices=told.voices if voice is None else (voice,),
        references=told.references,
        loras=(*_loras(settings, find_lora), *_loras(table, find_lora)),
    )
    table.finish()
    return shot


def _transition(name: str) -> Transition:
    return typed(Transition, name)


def _pictures(table: Table, find: Find) -> list[Picture]:
    found: list[Picture] = []
    for key in ("first", "last"):
        path = table.file(key, find)
        if path is not None:
            found.append(Picture(path=path, at=typed(Any, key), strength=1.0, line=table.line_of(key)))
    for entry in table.tables("images"):
        path, at = entry.file("file", find), entry.time("at")
        if path is None or at is None:
            entry.expect("file" if path is None else "at", "a value", "none; add it")
        strength = entry.number("strength", 1.0, 0.0, 1.0)
        found.append(Picture(path=path, at=at, strength=strength, line=entry.line_of("file")))
        entry.finish()
    return found


def _control(table: Table, find: Find) -> Control | None:
    entry = table.table("control")
    if entry is None:
        return None
    path = entry.file("file", find)
    if path is None:
        entry.expect("file", "a clip", "none; add it")
    start = entry.number("start", 0.0, 0.0, 1e6)
    strength, attention = entry.number("strength", 1.0, 0.0, 1.0), entry.number("attention", 1.0, 0.0, 1.0)
    entry.finish()
    return Control(path=path, start=start, strength=strength, attention=attention)


def _loras(table: Table, find: Find) -> list[LoraChoice]:
    found = []
    for entry in table.tables("loras"):
        path = entry.file("file", find)
        if path is None:
            entry.expect("file", "a LoRA", "none; add it")
        found.append(LoraChoice(path=path, strength=entry.number("strength", 1.0, -LORA_LIMIT, LORA_LIMIT)))
        entry.finish()
    return found
