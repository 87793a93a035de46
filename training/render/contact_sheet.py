"""A picture of 50 scenes to look through: colour, true depth and sensor depth of the first and the middle frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dkt_ros.files import written_whole
from dkt_ros.training.sequence_tar import SequenceError, SequenceTar, open_sequence
from dkt_ros.training.sequences import sequence_path
from dkt_ros.training.transphy3d import decode_depth, decode_millimetres, max_depth_of

#: Scenes on a sheet. A sheet's first seed is a multiple of it, so that a seed stays on its sheet when a job grows.
SCENES = 50

#: Scenes side by side, and the width of one of the three pictures of a row, pixels.
COLUMNS, WIDTH = 5, 160
MARGIN, TITLE, GAP = 12, 18, 2
PAPER, INK, FAINT = (250, 248, 246), (40, 40, 40), (140, 140, 140)

_TILE = 3 * WIDTH + 2 * GAP
_KINDS = ("image.png", "depth.png", "depth.json", "metadata.json", "sensor.png")

Picture = NDArray[np.uint8]


def sheet_seeds(seed: int) -> range:
    """The seeds that share a sheet with ``seed``."""
    first = seed // SCENES * SCENES
    return range(first, first + SCENES)


def sheet_path(folder: Path, seeds: range) -> Path:
    """Where the sheet of ``seeds`` lies."""
    return folder / "sheets" / f"{seeds[0]:06d}-{seeds[-1]:06d}.png"


def draw_sheet(folder: Path, seeds: range) -> list[str]:
    """Draw the sheet of those of ``seeds`` that are in ``folder``; none if there are none.

    Returns: what was wrong with sequences that could not be shown.
    """
    tiles, faults = [], []
    for seed in seeds:
        path = sequence_path(folder, seed)
        if not path.exists():
            continue
        try:
            tiles.append(draw_scene(path, seed))
        except SequenceError as error:
            faults.append(str(error))
    if tiles:
        with written_whole(sheet_path(folder, seeds)) as temporary:
            temporary.write_bytes(cv2.imencode(".png", _arrange(tiles, _legend(seeds, len(tiles))))[1].tobytes())
    return faults


def draw_scene(path: Path, seed: int) -> Picture:
    """(rows, columns, 3) uint8 BGR: a title, then colour, true and sensor depth of the first and the middle frame.

    Raises:
        SequenceError: the file is damaged.
    """
    with open_sequence(path, _KINDS, ()) as tar:
        chosen = sorted({tar.frames[0], tar.frames[len(tar.frames) // 2]})
        rows = [_row(tar, number) for number in chosen]
        title = f"seed {seed}"
        subtitle = _words(tar.record(tar.frames[0], "metadata.json"))
    # One scale of colours for all depths of a scene, so that they can be compared.
    known = np.concatenate([depth[np.isfinite(depth)] for row in rows for depth in row[1:]])
    near, far = np.percentile(known, (1, 99)) if len(known) else (0.0, 1.0)
    head = _paper(2 * TITLE - 2, _TILE)
    _write(head, title, 0, INK)
    _write(head, f"depth {near:.2f} to {far:.2f} m", 110, FAINT)
    _write(head[TITLE - 2 :], subtitle, 0, FAINT)
    strips = [_strip([row[0], *(_coloured(depth, near, far) for depth in row[1:])]) for row in rows]
    return np.vstack([head, *strips])


def _strip(pictures: list[Picture]) -> Picture:
    """Pictures side by side, with a little paper between and below."""
    gap = _paper(len(pictures[0]), GAP)
    strip = np.hstack([part for picture in pictures for part in (picture, gap)][:-1])
    return np.vstack([strip, _paper(GAP, _TILE)])


def _paper(rows: int, columns: int) -> Picture:
    return np.full((rows, columns, 3), PAPER, np.uint8)


def _legend(seeds: range, count: int) -> str:
    return (
        f"{_counted(count, 'scene')} of seeds {seeds[0]} to {seeds[-1]}: the first frame and the middle one in colour, "
        "true depth, and what the sensor saw (black: nothing)"
    )


def _row(tar: SequenceTar, number: int) -> tuple[Any, ...]:
    """Colour (BGR), true and sensor depth (metres, NaN for holes) of a frame, each WIDTH wide."""
    try:
        scale = max_depth_of(tar.record(number, "depth.json"))
    except ValueError as error:
        raise tar.error(str(error)) from error
    colour = tar.picture(number, "image.png", cv2.IMREAD_COLOR)
    depth = decode_depth(tar.picture(number, "depth.png"), scale)
    sensor = decode_millimetres(tar.picture(number, "sensor.png"))
    size = (WIDTH, max(1, round(WIDTH * colour.shape[0] / colour.shape[1])))
    # Depths are not interpolated: there is nothing between a glass and the wall behind it.
    return cv2.resize(colour, size, interpolation=cv2.INTER_AREA), *(
        cv2.resize(plane, size, interpolation=cv2.INTER_NEAREST) for plane in (depth, sensor)
    )


def _coloured(depth: NDArray[np.float32], near: float, far: float) -> Picture:
    """Near is warm, far is cold, unknown is black."""
    share = (1 / np.clip(depth, near, far) - 1 / far) / max(1 / near - 1 / far, 1e-6)
    colours = cv2.applyColorMap(np.round(255 * np.nan_to_num(share)).astype(np.uint8), cv2.COLORMAP_TURBO)
    colours[~np.isfinite(depth)] = 0
    return np.asarray(colours, np.uint8)


def _words(record: dict[str, Any]) -> str:
    """What the generator said of the scene: how many objects, where, under which light."""
    meta = record.get("dkt_ros", {}).get("meta", {})
    words = [_counted(len(meta["objects"]), "object")] if isinstance(meta.get("objects"), list) else []
    for key, after in (("setting", ""), ("light", " light"), ("camera", " camera")):
        drawn = meta.get(key)
        if isinstance(drawn, dict) and "kind" in drawn:
            words.append(f"{drawn['kind']}{after}")
    return ", ".join(words)


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _write(picture: Picture, text: str, x: int, colour: tuple[int, int, int]) -> None:
    cv2.putText(picture, text, (x, TITLE - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, 1, cv2.LINE_AA)


def _arrange(tiles: list[Picture], legend: str) -> Picture:
    """Tiles in rows of ``COLUMNS``, each row as high as its highest, under the legend."""
    rows = [tiles[at : at + COLUMNS] for at in range(0, len(tiles), COLUMNS)]
    heights = [max(len(tile) for tile in row) for row in rows]
    step = _TILE + MARGIN
    sheet = _paper(TITLE + sum(heights) + MARGIN * (len(rows) + 2), max(2, min(COLUMNS, len(tiles))) * step + MARGIN)
    _write(sheet[MARGIN:], legend, MARGIN, INK)
    y = TITLE + 2 * MARGIN
    for row, height in zip(rows, heights, strict=True):
        for column, tile in enumerate(row):
            x = MARGIN + column * step
            sheet[y : y + len(tile), x : x + _TILE] = tile
        y += height + MARGIN
    return sheet
