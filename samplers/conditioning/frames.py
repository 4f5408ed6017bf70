"""Which pixel frame an index means, which latent frame holds it, and how to say so: the one place for it.

Pixel frame 0 is latent frame 0; latent frame j > 0 stands for the pixel frames 8j-7 … 8j.
"""

from __future__ import annotations

from ..shapes import SCALE, ScaleFactors


def resolve_frame(index: int, frames: int) -> int:
    """The pixel frame that `index` means in a clip of `frames`; a negative one counts from the end, -1 is the last.

    Raises ValueError for an index beyond the clip.
    """
    if not -frames <= index < frames:
        raise ValueError(
            f"keyframe: expected a frame from 0 to {frames - 1} (or -1 to -{frames} from the end), found {index}; "
            "move it into the clip or make the clip longer"
        )
    return index % frames


def latent_frame_of(frame: int, *, scale: ScaleFactors = SCALE) -> int:
    """The latent frame that holds pixel frame `frame` >= 0."""
    return (frame + scale.time - 1) // scale.time


def latent_frames_to_pixels(first: int, count: int, *, scale: ScaleFactors = SCALE) -> range:
    """The pixel frames that `count` latent frames from `first` on stand for."""
    start = 0 if first == 0 else (first - 1) * scale.time + 1
    return range(start, (first + count - 1) * scale.time + 1)


def frames_text(frames: range, fps: float) -> str:
    """What a node shows: `frame 24 (1.000 s)`, or `frames 17 to 24 (0.708 to 1.000 s)`."""
    first, last = frames[0], frames[-1]
    if first == last:
        return f"frame {first} ({first / fps:.3f} s)"
    every = "" if frames.step == 1 else f", every {frames.step}"
    return f"frames {first} to {last}{every} ({first / fps:.3f} to {last / fps:.3f} s)"
