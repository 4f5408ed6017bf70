"""Contact sheets: a row a clip, some of its frames and its log-mel, under its caption; and clips that move."""

# T frames, H height, W width, M mel frames, F mel bins
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from einops import rearrange
from PIL import Image, ImageDraw
from torch import Tensor

COLUMNS = 8
TEXT_HEIGHT = 14
LOUDEST, RANGE = 2.0, 11.0  # nats


def save_sheet(rows: Sequence[tuple[str, Tensor, Tensor]], path: Path) -> None:
    """rows: caption, frames (T, H, W, 3) in 0..1, mel (2, M, F)."""
    strips = [_strip(frames, mel) for _, frames, mel in rows]
    height, width, _ = strips[0].shape
    sheet = Image.new("RGB", (width, len(rows) * (height + TEXT_HEIGHT)), "white")
    pen = ImageDraw.Draw(sheet)
    for index, ((caption, _, _), strip) in enumerate(zip(rows, strips, strict=True)):
        top = index * (height + TEXT_HEIGHT)
        pen.text((2, top + 1), caption, fill="black")
        sheet.paste(Image.fromarray((strip * 255).round().byte().numpy()), (0, top + TEXT_HEIGHT))
    sheet.save(path)


def save_animation(clips: Sequence[Tensor], path: Path, *, columns: int = 4, fps: float = 24.0) -> None:
    """Clips (T, H, W, 3) in 0..1 of one size as an endless picture (.webp, .gif): whole rows of them, side by side."""
    columns = min(columns, len(clips))
    whole = torch.stack(list(clips[: len(clips) // columns * columns])).clamp(0, 1)
    sheets = rearrange(whole, "(r n) t h w c -> t (r h) (n w) c", n=columns)
    pictures = [Image.fromarray((sheet * 255).round().byte().numpy()) for sheet in sheets]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=round(1000 / fps), loop=0, quality=70)


def _strip(frames: Tensor, mel: Tensor) -> Tensor:
    """(H, W', 3): frames evenly over the clip, then the mean of both channels' log-mel, low bands below."""
    picked = torch.linspace(0, len(frames) - 1, COLUMNS).round().long()
    pictures = rearrange(frames[picked].clamp(0, 1), "t h w c -> h (t w) c")
    level = ((mel.mean(dim=0).T.flip(0) - LOUDEST) / RANGE + 1).clamp(0, 1)  # F M
    size = [frames.shape[1], mel.shape[1]]
    grown = torch.nn.functional.interpolate(level[None, None], size=size, mode="nearest")[0, 0]
    return torch.cat([pictures, grown[..., None].expand(-1, -1, 3)], dim=1)
