"""Color between the display (sRGB) and light (linear), and the tone curve that brings light back to the display."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
import numpy.typing as npt
from jaxtyping import Float32

cv2.setNumThreads(1)  # the same bytes whatever the machine; batch work runs in processes

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

BRIGHTEST = 6.0  # linear light that the tone curve still tells apart
LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)
"""Weights of linear red, green and blue in luminance (ITU-R BT.709)."""
_TONE_STEPS = 1024  # table entries per unit of linear light


def to_linear(display: npt.ArrayLike) -> Floats:
    """sRGB values 0..1 → linear light 0..1 (IEC 61966-2-1)."""
    value = np.asarray(display, np.float32)
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4).astype(np.float32)


def to_display(linear: npt.ArrayLike) -> Floats:
    """Linear light 0..1 → sRGB values 0..1, the inverse of `to_linear`."""
    value = np.asarray(linear, np.float32)
    curved = 1.055 * np.maximum(value, 0.0031308) ** (1 / 2.4) - 0.055
    return np.where(value <= 0.0031308, value * 12.92, curved).astype(np.float32)


def hex_to_linear(code: str) -> Float32[np.ndarray, " 3"]:
    """Color code "#rrggbb" → linear (3,)."""
    digits = code.lstrip("#")
    return to_linear([int(digits[start : start + 2], 16) / 255 for start in (0, 2, 4)])


def gray(values: Float32[np.ndarray, "height width"]) -> Float32[np.ndarray, "height width 3"]:
    """The same value in all three channels; NumPy takes three times as long to stretch a last axis of one."""
    return np.asarray(cv2.merge((values, values, values)), np.float32)


def tinted(values: Float32[np.ndarray, "height width"], color: Floats) -> Float32[np.ndarray, "height width 3"]:
    """Each value times a color (3,)."""
    return np.asarray(cv2.merge([values * channel for channel in color.astype(np.float32)]), np.float32)


def filtered(picture: Float32[np.ndarray, "height width 3"], color: Floats) -> Float32[np.ndarray, "height width 3"]:
    """Each pixel times a color (3,)."""
    return np.asarray(cv2.transform(picture, np.diag(color.astype(np.float32))), np.float32)


def colorfulness(picture: Bytes) -> float:
    """M of Hasler and Süsstrunk, "Measuring colourfulness in natural images" (2003), of (height, width, 3) sRGB."""
    red, green, blue = (picture[..., channel].astype(np.float32) for channel in range(3))
    opponents = np.stack([red - green, 0.5 * (red + green) - blue])
    spread, offset = np.linalg.norm(opponents.std(axis=(1, 2))), np.linalg.norm(opponents.mean(axis=(1, 2)))
    return float(spread + 0.3 * offset)


@cache
def linear_of_byte() -> Float32[np.ndarray, " 256"]:
    """Linear light of each sRGB byte, (256,)."""
    table = to_linear(np.arange(256, dtype=np.float32) / 255)
    table.setflags(write=False)
    return table


@cache
def _tone_table() -> Floats:
    """Display value (0..255) of each step of linear light: a soft shoulder, then a gentle S for contrast."""
    light = np.linspace(0, BRIGHTEST, int(BRIGHTEST * _TONE_STEPS) + 1, dtype=np.float32)
    shoulder = np.clip(light * (1 + light * 0.10) / (1 + light * 0.42), 0, 1)
    display = shoulder ** (1 / 2.2)
    display = np.clip(display + (display - 0.5) * 0.12 * np.sin(np.pi * display), 0, 1)
    table = (display * 255).astype(np.float32)
    table.setflags(write=False)
    return table


def tone(light: Float32[np.ndarray, "... 3"]) -> Float32[np.ndarray, "... 3"]:
    """Exposed linear light → display values 0..255, same shape."""
    steps = light * _TONE_STEPS
    steps = np.clip(steps, 0, BRIGHTEST * _TONE_STEPS, out=steps).astype(np.uint16)
    return np.take(_tone_table(), steps, mode="clip")  # all are in the table; without a mode NumPy checks each
