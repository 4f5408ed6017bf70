"""A scene: the few values that a clip is a function of, drawn from a seed, and the caption that names some of them.

Lengths are in heights of the picture, times in seconds. Spec page embedded_model, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32

import numpy as np

SIZES = ("small", "large")
COLOURS = ("red", "green", "blue", "yellow")
SHAPES = ("ball", "box", "triangle")
MOTIONS = ("bounces", "slides left", "slides right", "blinks")
BACKGROUNDS = ("grey", "white", "black")
PITCHES = ("low", "high", "rising", "falling")  # the last two: a tone of a slide that glides
PANS = ("still", "left", "right")

RADIUS = {1: {"small": 0.11, "large": 0.20}, 2: {"small": 0.09, "large": 0.15}}  # two large ones must find room
GAP = 0.03  # half the distance between two objects
FLOOR, CONTACT = 0.80, 0.84  # where the floor begins, and where objects touch it: contact must be visible
HEIGHT_OF_BOUNCE = 0.35
PERIOD = (0.6, 1.0)
SLIDE, PAN = (0.15, 0.28), (0.06, 0.12)  # speeds
HELD_OUT = 8  # one combination of named values in so many is kept from training

SYNONYMS = {"ball": "circle", "box": "square", "triangle": "triangle"}
SOUNDS = {"bounces": "knock at each bounce", "blinks": "beep at each blink", "slides": "hum"}


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Named values first; then what no caption tells and must stay random."""

    size: str
    colour: str
    shape: str
    count: int
    motion: str
    background: str
    pitch: str
    pan: str
    unsaid: frozenset[str]  # of "size", "background", "pitch", "sound": what the caption leaves open
    synonym: bool  # circle, square
    start: float  # x of the group's centre at time 0
    speed: float  # of a slide, to the right
    pan_speed: float  # of what is seen, to the right
    period: float
    phase: float  # first contact, or first moment of a visible half period
    gain: float

    @property
    def radius(self) -> float:
        return RADIUS[self.count][self.size]

    @property
    def caption(self) -> str:
        """What the model is told, lower case, without a full stop."""
        said = [self._subject(), self._verb()]
        if "background" not in self.unsaid:
            said.append(f"on a {self.background} floor")
        text = " ".join(said)
        if self.pan != "still":
            text += f", the camera pans {self.pan}"
        return text if "sound" in self.unsaid else f"{text}, {self._sound()}"

    def _subject(self) -> str:
        noun = SYNONYMS[self.shape] if self.synonym else self.shape
        words = [self.colour, noun if self.count == 1 else _plural(noun)]
        if "size" not in self.unsaid:
            words.insert(0, self.size)
        return " ".join(["a" if self.count == 1 else "two", *words])

    def _verb(self) -> str:
        verb, *direction = self.motion.split()
        return " ".join([verb if self.count == 1 else verb.removesuffix("s"), *direction])

    def _sound(self) -> str:
        if self.pitch in ("rising", "falling"):
            return f"a {self.pitch} tone"
        pitch = [] if "pitch" in self.unsaid else [self.pitch]
        words = ["a", *pitch, SOUNDS[self.motion.split()[0]]]
        if self.motion.startswith("slides"):
            words.insert(1, "steady")
        return " ".join(words)

    def events(self, duration: float) -> list[float]:
        """Moments (s) within the clip that are seen and heard: contacts, or when the object appears."""
        if self.motion.startswith("slides"):
            return []
        first = self.phase - self.period * np.floor(self.phase / self.period)
        return [float(time) for time in np.arange(first, duration, self.period)]

    def visible(self, times: np.ndarray) -> np.ndarray:
        """Whether the object shows at these times, bool, same shape."""
        if self.motion != "blinks":
            return np.ones(times.shape, dtype=bool)
        shown: np.ndarray = np.mod(times - self.phase, self.period) < self.period / 2
        return shown

    def centres(self, times: np.ndarray) -> np.ndarray:
        """Centres (len(times), count, 2): x, y."""
        x = self.start + (self.speed + self.pan_speed) * times
        y = np.full_like(x, CONTACT - self.radius)
        if self.motion == "bounces":
            part = np.mod((times - self.phase) / self.period, 1)
            y = y - HEIGHT_OF_BOUNCE * 4 * part * (1 - part)
        sides = np.array([0.0]) if self.count == 1 else np.array([-1.0, 1.0]) * (self.radius + GAP)
        return np.stack([x[:, None] + sides, np.repeat(y[:, None], self.count, axis=1)], axis=-1)


def sample_scene(seed: int, *, held_out: bool = False, duration: float = 49 / 24, aspect: float = 1.0) -> Scene:
    """The scene of a seed. duration (s) and aspect (width / height) bound how far it may move.

    held_out: from the combinations of named values that training never sees, fully described; else from the others.
    """
    generator = np.random.default_rng([seed, int(held_out)])
    while True:
        scene = _draw(generator, duration, aspect, described=held_out)
        if is_held_out(scene) == held_out:
            return scene


def is_held_out(scene: Scene) -> bool:
    """Whether this combination of colour, shape, size, motion, background and pitch is kept from training."""
    named = (scene.size, scene.colour, scene.shape, scene.motion, scene.background, scene.pitch)
    return crc32(" ".join(named).encode()) % HELD_OUT == 0


def _draw(generator: np.random.Generator, duration: float, aspect: float, *, described: bool) -> Scene:
    def pick(values: tuple[str, ...], weights: tuple[float, ...] | None = None) -> str:
        return values[int(generator.choice(len(values), p=weights))]

    size, motion = pick(SIZES), pick(MOTIONS)
    count = 2 if generator.random() < 0.15 else 1
    slides = motion.startswith("slides")
    pan = pick(PANS, (0.9, 0.05, 0.05)) if not slides else "still"
    unsaid = frozenset() if described else _unsaid(generator)
    pitch = pick(PITCHES, (0.45, 0.45, 0.05, 0.05)) if slides else pick(PITCHES[:2])
    if "pitch" in unsaid and pitch in PITCHES[:2]:
        pitch = "high" if size == "small" else "low"  # what one expects of such an object
    half = RADIUS[count][size] if count == 1 else 2 * RADIUS[count][size] + GAP
    room = aspect - 2 * half - 0.02
    pan_speed = {"still": 0.0, "left": 1.0, "right": -1.0}[pan] * generator.uniform(*PAN)
    fastest = max(SLIDE[0], min(SLIDE[1], room / duration))
    speed = {"slides left": -1.0, "slides right": 1.0}.get(motion, 0.0) * generator.uniform(SLIDE[0], fastest)
    travel = (speed + pan_speed) * duration
    low, high = half + 0.01 - min(travel, 0.0), aspect - half - 0.01 - max(travel, 0.0)
    period = generator.uniform(*PERIOD)
    return Scene(
        size=size,
        colour=pick(COLOURS),
        shape=pick(SHAPES),
        count=count,
        motion=motion,
        background=pick(BACKGROUNDS),
        pitch=pitch,
        pan=pan,
        unsaid=unsaid,
        synonym=not described and generator.random() < 0.2,
        start=float(generator.uniform(min(low, high), max(low, high))),
        speed=float(speed),
        pan_speed=float(pan_speed),
        period=float(period),
        phase=float(generator.uniform(0, period)),
        gain=float(generator.uniform(0.6, 1.0)),
    )


def _unsaid(generator: np.random.Generator) -> frozenset[str]:
    chances = {"size": 0.08, "background": 0.05, "pitch": 0.12, "sound": 0.08}
    return frozenset(name for name, chance in chances.items() if generator.random() < chance)


def _plural(noun: str) -> str:
    return noun + ("es" if noun.endswith("x") else "s")
