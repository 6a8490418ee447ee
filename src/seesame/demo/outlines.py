"""Closed outlines on a sheet 100 units wide and 125 high, flattened to points."""

import re

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
SHEET_W, SHEET_H = 100, 125

_STEPS = np.linspace(0, 1, 15)[1:, None]
_TOKEN = re.compile(r"[MLQC]|-?\d+(?:\.\d+)?")


def path(text: str) -> Points:
    """The points of an SVG-like path with absolute M, L, Q and C commands, shape (n, 2)."""
    pieces: list[Points] = []
    for command, numbers in _commands(text):
        corners = np.array(numbers).reshape(-1, 2)
        if command in "ML":
            pieces.append(corners)
            continue
        start, t = pieces[-1][-1], _STEPS
        if command == "Q":
            control, end = corners
            pieces.append((1 - t) ** 2 * start + 2 * t * (1 - t) * control + t**2 * end)
        else:
            first, last, end = corners
            curve = (1 - t) ** 3 * start + 3 * t * (1 - t) ** 2 * first
            pieces.append(curve + 3 * t**2 * (1 - t) * last + t**3 * end)
    return np.concatenate(pieces)


def _commands(text: str) -> list[tuple[str, list[float]]]:
    """Each command letter with its numbers."""
    commands: list[tuple[str, list[float]]] = []
    for token in _TOKEN.findall(text):
        if token.isalpha():
            commands.append((token, []))
        else:
            commands[-1][1].append(float(token))
    return commands


def mirrored(points: Points) -> Points:
    """The points reflected left to right about the middle of the sheet."""
    return np.column_stack([SHEET_W - points[:, 0], points[:, 1]])[::-1]


def symmetric(text: str) -> Points:
    """A closed outline from its right half, drawn from the axis round to the axis."""
    half = path(text)
    return np.concatenate([half, mirrored(half)])


def ellipse(x: float, y: float, width: float, height: float) -> Points:
    """An ellipse about (x, y) with the two radii given."""
    turn = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    return np.column_stack([x + width * np.cos(turn), y + height * np.sin(turn)])


def box(left: float, top: float, right: float, bottom: float, radius: float = 0) -> Points:
    """A rectangle with rounded corners."""
    turn = np.linspace(0, np.pi / 2, 9)
    corners = ((right, bottom, 0), (left, bottom, 1), (left, top, 2), (right, top, 3))
    pieces = []
    for x, y, quarter in corners:
        angle = turn + quarter * np.pi / 2
        centre_x = x - radius if x == right else x + radius
        centre_y = y - radius if y == bottom else y + radius
        pieces.append(np.column_stack([centre_x + radius * np.cos(angle), centre_y + radius * np.sin(angle)]))
    return np.concatenate(pieces)


def ribbon(line: Points, width: float, end_width: float | None = None) -> Points:
    """A band of the given width along an open line, tapering where an end width is given."""
    along = np.gradient(line, axis=0)
    along /= np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-9)[:, None]
    across = np.column_stack([-along[:, 1], along[:, 0]])
    half = np.linspace(width, width if end_width is None else end_width, len(line))[:, None] / 2
    return np.concatenate([line + across * half, (line - across * half)[::-1]])


def moved(points: Points, *, x: float = 0, y: float = 0, scale: float = 1, turn_deg: float = 0) -> Points:
    """The points scaled and turned about the middle of the sheet, then shifted."""
    middle = np.array([SHEET_W / 2, SHEET_H / 2])
    angle = np.radians(turn_deg)
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    placed: Points = (points - middle) @ rotation * scale + middle + np.array([x, y])
    return placed
