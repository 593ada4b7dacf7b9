"""Pictures of eight shapes on textured grounds, drawn by procedure, each with its mask.

A scene is drawn from a random generator in relative coordinates, and every random number is drawn
before the first pixel is: the same seed gives the same scene at 64 pixels for training and at 256
for looking at. On demand a small coloured tag in the lower left corner gives the class away, as
the copyright line did in the well-known photographs of horses. This file knows nothing of
networks; OpenCV is imported where pixels are made.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from gradcam_hooks.apps.demo import LABELS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Image = NDArray[np.uint8]
    Mask = NDArray[np.bool_]
    Plane = NDArray[np.float32]

__all__ = ["TAG_BOX", "TAG_COLORS", "Scene", "background", "draw", "stamp", "tag_mask"]

#: The fill of the tag that stands for each label, in 8-bit RGB.
TAG_COLORS: Mapping[str, tuple[int, int, int]] = MappingProxyType(
    {
        "circle": (230, 30, 40),
        "ring": (255, 140, 0),
        "square": (255, 230, 30),
        "triangle": (30, 170, 60),
        "star": (40, 215, 235),
        "cross": (25, 60, 220),
        "heart": (225, 50, 225),
        "crescent": (250, 250, 250),
    }
)

#: Left, top, right and bottom of the tag as fractions of the side. A centre crop of 7/8, the usual
#: preprocessing, takes 4/64 from every side and so leaves the tag whole.
TAG_BOX = (5 / 64, 50 / 64, 14 / 64, 59 / 64)

_FRAME = (24, 24, 28)
_OVERSAMPLING = 4
_GRIDS = (4, 8, 16)


@dataclass(frozen=True)
class Scene:
    """One picture and the truth about it.

    Attributes:
        image: `(height, width, 3)`, uint8 RGB.
        mask: `(height, width)`, true for each pixel that the shape touches.
        label: what is drawn, one of `LABELS`.
        tag: the label that the tag's colour claims; `None` where there is no tag.
    """

    image: Image
    mask: Mask
    label: str
    tag: str | None = None


def draw(rng: np.random.Generator, label: str, size: int = 64, tag: str | None = None) -> Scene:
    """One shape of random place, size, rotation and colour on a random textured ground.

    The scene depends on the generator's state alone: other sizes, labels and tags consume the same
    random numbers, so that a scene can be drawn again with one thing changed.

    Args:
        rng: the source of every random number.
        label: the shape, one of `LABELS`.
        size: the side of the square picture in pixels.
        tag: the label whose colour the tag shows; `None` draws no tag.

    Raises:
        ValueError: if `label` or `tag` is none of `LABELS`, or `size` is below 16.

    >>> scene = draw(np.random.default_rng(0), "star", 64)
    >>> scene.image.shape, scene.mask.shape, scene.label, scene.tag
    ((64, 64, 3), (64, 64), 'star', None)
    """
    _check(label)
    ground = background(rng, size)
    color = _contrasting(rng, ground.mean(axis=(0, 1)))
    radius, x, y = _place(rng)
    turn = rng.uniform(0, 2 * math.pi)
    light = rng.uniform(0, 2 * math.pi)

    coverage = _coverage(label, size, radius, x, y, turn)
    row, column = _pixels(size)
    shade = 1 + 0.18 * ((column - x) * math.cos(light) + (row - y) * math.sin(light)) / radius
    paint = np.clip(color * shade[..., None], 0, 1)
    image = ground + coverage[..., None] * (paint - ground)
    pixels = np.asarray(np.round(255 * np.clip(image, 0, 1)), dtype=np.uint8)
    if tag is not None:
        pixels = stamp(pixels, tag)
    return Scene(pixels, coverage > 0, label, tag)


def stamp(image: Image, tag: str) -> Image:
    """A copy of `image`, `(..., height, width, 3)`, with the tag of label `tag` in its corner.

    Raises:
        ValueError: if `tag` is none of `LABELS`.
    """
    _check(tag)
    height, width = image.shape[-3:-1]
    tagged = np.array(image)
    left, top, right, bottom = _box(height, width)
    tagged[..., top:bottom, left:right, :] = _FRAME
    rim = max(1, round(min(height, width) / 64))
    tagged[..., top + rim : bottom - rim, left + rim : right - rim, :] = TAG_COLORS[tag]
    return tagged


def tag_mask(size: int) -> Mask:
    """Where a picture of side `size` carries its tag, frame and all: `(height, width)`."""
    mask = np.zeros((size, size), dtype=bool)
    left, top, right, bottom = _box(size, size)
    mask[top:bottom, left:right] = True
    return mask


def background(rng: np.random.Generator, size: int) -> Plane:
    """The ground that `draw` starts from: two like colours, mixed by a texture.

    Returns:
        `(height, width, 3)`, RGB in [0, 1].

    Raises:
        ValueError: if `size` is below 16, where a tag has no room left.
    """
    if size < 16:
        raise ValueError(f"a picture needs a side of at least 16 pixels, got size={size}")
    import cv2

    kind = rng.integers(3)
    # Muted grounds under lively shapes: a heat map laid over them stays easy to read.
    base = rng.uniform(0.25, 0.75) + rng.uniform(-0.13, 0.13, 3)
    other = np.clip(base + rng.uniform(-0.17, 0.17) + rng.uniform(-0.09, 0.09, 3), 0, 1)
    angles, rates = rng.uniform(0, math.pi, 2), rng.uniform(3, 9, 2)
    phases = rng.uniform(0, 2 * math.pi, 2)
    grids = [rng.standard_normal((side, side)).astype(np.float32) for side in _GRIDS]
    grain = rng.standard_normal((64, 64)).astype(np.float32)

    def spread(grid: Plane) -> Plane:
        return np.asarray(cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC))

    clouds = spread(grids[0]) + spread(grids[1]) / 2 + spread(grids[2]) / 4
    row, column = _pixels(size)
    waves = [
        np.sin(2 * math.pi * rate * (column * math.cos(a) + row * math.sin(a)) + phase + clouds)
        for a, rate, phase in zip(angles, rates, phases, strict=True)
    ]
    texture = (1.2 * clouds, 1.5 * waves[0], 1.5 * waves[0] * waves[1])[kind]
    share = 0.5 + 0.5 * np.tanh(texture)[..., None]
    ground = base + share * (other - base) + 0.012 * spread(grain)[..., None]
    return np.asarray(np.clip(ground, 0, 1), dtype=np.float32)


def _check(label: str) -> None:
    if label not in LABELS:
        raise ValueError(f"expected one of the labels {', '.join(LABELS)}; got {label!r}")


def _pixels(size: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Row and column of each pixel's centre, as fractions of the side."""
    centre = (np.arange(size) + 0.5) / size
    row, column = np.meshgrid(centre, centre, indexing="ij")
    return row, column


def _box(height: int, width: int) -> tuple[int, int, int, int]:
    left, top, right, bottom = TAG_BOX
    return round(left * width), round(top * height), round(right * width), round(bottom * height)


def _contrasting(rng: np.random.Generator, ground: Plane) -> NDArray[np.float64]:
    """A colour well away from the ground's mean: the shape must be plain to see."""
    while True:
        color = rng.uniform(0.05, 1.0, 3)
        lively = np.ptp(color) > 0.35
        if lively and np.linalg.norm(color - ground) > 0.5:
            return color


def _place(rng: np.random.Generator) -> tuple[float, float, float]:
    """Radius and centre of a disc that lies within the picture and clear of the tag's place."""
    left, top, right, bottom = TAG_BOX
    while True:
        radius = rng.uniform(0.17, 0.31)
        x, y = rng.uniform(radius + 0.03, 0.97 - radius, 2)
        near_x, near_y = min(max(x, left), right), min(max(y, top), bottom)
        if math.hypot(x - near_x, y - near_y) > radius + 0.02:
            return radius, x, y


def _coverage(label: str, size: int, radius: float, x: float, y: float, turn: float) -> Plane:
    """How much of each pixel the shape covers, `(height, width)` in [0, 1]."""
    import cv2

    fine = size * _OVERSAMPLING
    spin = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    outlines = [
        # OpenCV counts from the centre of the first pixel, and reads 4 of these bits as fraction.
        np.round(16 * (fine * (radius * contour @ spin + (x, y)) - 0.5)).astype(np.int32)
        for contour in _contours(label)
    ]
    canvas = np.zeros((fine, fine), dtype=np.uint8)
    cv2.fillPoly(canvas, outlines, 255, shift=4)  # even-odd: an inner contour is a hole
    small = cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(small / np.float32(255), dtype=np.float32)


def _contours(label: str) -> list[NDArray[np.float64]]:
    """The outlines of a shape in the unit disc, each `(points, 2)` as x and y."""
    if label == "circle":
        return [_arc(1, 0, 2 * math.pi)]
    if label == "ring":
        return [_arc(1, 0, 2 * math.pi), _arc(0.56, 0, 2 * math.pi)]
    if label == "square":
        return [_arc(1, 0, 2 * math.pi, 4)]
    if label == "triangle":
        return [_arc(1, 0, 2 * math.pi, 3)]
    if label == "star":
        return [_arc(1, 0, 2 * math.pi, 10) * np.where(np.arange(10) % 2, 0.42, 1.0)[:, None]]
    if label == "cross":
        arm, width = 0.95, 0.3
        quarter = np.array([[arm, -width], [arm, width], [width, width]])
        turns = [np.array([[0, 1], [-1, 0]]), np.array([[-1, 0], [0, -1]])]
        half = np.concatenate([quarter, quarter @ turns[0]])
        return [np.concatenate([half, half @ turns[1]])]
    if label == "heart":
        t = np.linspace(0, 2 * math.pi, 96, endpoint=False)
        height = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
        return [np.stack([16 * np.sin(t) ** 3, -height - 2.5], axis=1) / 17]
    # The crescent: a disc less a second disc of radius 0.85, moved by 0.55. Both circles meet
    # where x = (1 - 0.85**2 + 0.55**2) / (2 * 0.55).
    shift, inner = 0.55, 0.85
    meet = (1 - inner**2 + shift**2) / (2 * shift)
    outside = math.acos(meet)
    inside = math.acos((meet - shift) / inner)
    back = _arc(inner, 2 * math.pi - inside, inside) + np.array([shift, 0])
    return [np.concatenate([_arc(1, outside, 2 * math.pi - outside), back])]


def _arc(radius: float, start: float, stop: float, points: int = 96) -> NDArray[np.float64]:
    angle = np.linspace(start, stop, points, endpoint=False)
    return radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
