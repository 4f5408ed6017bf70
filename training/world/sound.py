"""The sound of a scene: knocks at contacts, beeps while something shows, a hum or a gliding tone while it slides."""

from __future__ import annotations

import numpy as np

from .scene import Scene

FREQUENCY = {"low": 220.0, "high": 880.0}
GLIDE = (220.0, 880.0)  # of a rising tone; a falling one comes back
KNOCK_DECAY, PARTIAL_DECAY, PARTIAL = 0.035, 0.02, 2.76  # seconds, seconds, ratio of an inharmonic partial
EDGE = 0.005  # seconds in which a beep rises and falls
LEVEL = 0.5


def draw_sound(scene: Scene, *, samples: int, rate: int, duration: float, frequency: float | None = None) -> np.ndarray:
    """float32 (2, samples) in -1..1. duration (s): what a gliding tone takes; frequency (Hz): another pitch."""
    times = np.arange(samples) / rate
    steady = FREQUENCY.get(scene.pitch) if frequency is None else frequency
    mono = _bounces(scene, times, steady) if scene.motion == "bounces" else _tone(scene, times, duration, steady)
    # the group's centre pans the sound with constant power
    place = np.clip(scene.centres(times)[..., 0].mean(axis=1), 0, 1) * np.pi / 2
    stereo = np.stack([np.cos(place), np.sin(place)]) * mono * (LEVEL * scene.gain * np.sqrt(2))
    sound: np.ndarray = np.clip(stereo, -1, 1).astype(np.float32)
    return sound


def _bounces(scene: Scene, times: np.ndarray, frequency: float | None) -> np.ndarray:
    assert frequency is not None, "only slides glide"
    mono = np.zeros_like(times)
    for event in scene.events(float(times[-1])):
        after = times[times >= event] - event
        knock = np.sin(2 * np.pi * frequency * after) * np.exp(-after / KNOCK_DECAY)
        knock += 0.4 * np.sin(2 * np.pi * PARTIAL * frequency * after) * np.exp(-after / PARTIAL_DECAY)
        mono[times >= event] += knock
    return mono


def _tone(scene: Scene, times: np.ndarray, duration: float, frequency: float | None) -> np.ndarray:
    if frequency is not None:
        angle = 2 * np.pi * frequency * times
    else:
        first, last = GLIDE if scene.pitch == "rising" else GLIDE[::-1]
        growth = np.log(last / first) / duration
        angle = 2 * np.pi * first * (np.exp(growth * times) - 1) / growth
    tone = np.sin(angle) if scene.motion == "blinks" else 0.8 * np.sin(angle) + 0.25 * np.sin(2 * angle)
    sound: np.ndarray = 0.5 * tone * _envelope(scene, times)
    return sound


def _envelope(scene: Scene, times: np.ndarray) -> np.ndarray:
    if scene.motion != "blinks":
        edges = times / (4 * EDGE)
    else:
        part = np.mod(times - scene.phase, scene.period)
        edges = np.minimum(part, scene.period / 2 - part) / EDGE
    return np.clip(edges, 0, 1)
