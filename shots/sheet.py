"""A contact sheet: a row a shot, its frames where they are known, and what is to be done about it."""

# H W rows, columns of a picture
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

COLUMNS, WIDTH, CAPTION = 4, 192, 18
PAPER, INK, EMPTY, RENDERED, CACHED = "white", "black", (225, 225, 225), (190, 60, 20), (30, 120, 60)


@dataclass(frozen=True, kw_only=True, eq=False)
class Row:
    """caption: of the shot; state: what is done about it; pictures: up to COLUMNS, None where there is none yet."""

    caption: str
    state: str
    done: bool
    pictures: Sequence[Image.Image | None]


def contact_sheet(rows: Sequence[Row], width: int, height: int) -> Image.Image:
    """width, height: of the film, for the shape of pictures."""
    size = WIDTH, max(round(WIDTH * height / width), 1)
    step = size[1] + CAPTION
    sheet = Image.new("RGB", (COLUMNS * size[0], len(rows) * step), PAPER)
    pen = ImageDraw.Draw(sheet)
    for number, row in enumerate(rows):
        top = number * step
        state = _plain(row.state)
        right = COLUMNS * size[0] - 4 - round(pen.textlength(state))
        pen.text((4, top + 3), _fitted(pen, _plain(row.caption), right - 12), fill=INK)
        pen.text((right, top + 3), state, fill=CACHED if row.done else RENDERED)
        for column in range(COLUMNS):
            picture = row.pictures[column] if column < len(row.pictures) else None
            place = column * size[0], top + CAPTION
            if picture is None:
                pen.rectangle((*place, place[0] + size[0] - 2, place[1] + size[1] - 2), fill=EMPTY)
            else:
                sheet.paste(picture.convert("RGB").resize(size), place)
    return sheet


def _plain(text: str) -> str:
    """Pillow's own font has no more letters than these."""
    return text.encode("latin-1", "replace").decode("latin-1")


def _fitted(pen: ImageDraw.ImageDraw, text: str, width: int) -> str:
    while text and pen.textlength(text) > width:
        text = text[:-1]
    return text
