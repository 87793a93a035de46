"""Scene cuts in a recording: depth is not carried from one shot into the next.

Why not PySceneDetect: its content detector compares pixel by pixel, so that a fast pan or a jump of the exposure scores
like a cut, and it installs the OpenCV with windows over the headless one. Here each frame is searched for in the one
before it instead.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import product

import cv2
import numpy as np

from dkt_ros.clips import break_between
from dkt_ros.frames import Float32, Frame, UInt8

#: Pixels of the longer side at which frames are compared, of a patch that is searched for, and how far it may move.
SIDE, PATCH, REACH = 96, 16, 24
#: A patch with less contrast than this standard deviation, of 255 grey levels, cannot be found again.
MIN_CONTRAST = 4.0
#: Normalised correlation with which a patch counts as found, and the share that must be found in the same shot.
FOUND, MIN_SHARE = 0.85, 0.33


class CutDetector:
    """Frames in, one at a time; says which one begins another shot. Bounded memory.

    Patches of the frame are searched for in the one before by normalised correlation, which neither a change of
    exposure nor motion by a quarter of the picture disturbs; it is a cut when fewer than ``MIN_SHARE`` of them are
    found. Something that passes before the camera hides some patches, not all. A frame without contrast (black,
    overexposed) proves nothing: the next one is compared with the last that had some. Dissolves are not found.

    Attributes:
        cuts: how many were found so far.
    """

    def __init__(self) -> None:
        self.cuts = 0
        self._before: Float32 | None = None

    def begins(self, rgb: UInt8) -> bool:
        """Whether (H, W, 3) ``rgb`` begins another shot than the frame given last. False for the first."""
        grey = _small(rgb)
        patches = _patches(grey)
        if not patches:
            return False
        before, self._before = self._before, grey
        cut = before is not None and before.shape == grey.shape and _share_found(patches, before) < MIN_SHARE
        self.cuts += cut
        return cut

    def forget(self) -> None:
        """The next frame has nothing to do with those before."""
        self._before = None


def follow(
    frames: Iterable[Frame], cuts: CutDetector | None = None, dropped: Counter[str] | None = None
) -> Iterator[tuple[Frame, bool]]:
    """Each frame of a recording, and whether it begins a shot; bounded memory.

    The first frame, a cut, a time that goes back, and another picture size or frame_id begin one. Frames whose stamp
    comes twice belong to none and are counted in ``dropped``.

    Args:
        cuts: finds the cuts; None looks for none.
    """
    before: Frame | None = None
    for frame in frames:
        found = None if before is None else break_between(before, frame)
        if found is not None and found.reason == "stamp repeated":
            if dropped is not None:
                dropped[found.reason] += 1
            continue
        if cuts is not None and found is not None:
            cuts.forget()
        cut = cuts is not None and cuts.begins(frame.rgb)
        yield frame, before is None or found is not None or cut
        before = frame


def shot_lengths(frames: Iterable[Frame], cuts: CutDetector | None, dropped: Counter[str] | None = None) -> list[int]:
    """How many frames each shot of a recording has, see ``follow``; reads it once."""
    lengths: list[int] = []
    for _, starts in follow(frames, cuts, dropped):
        if starts:
            lengths.append(0)
        lengths[-1] += 1
    return lengths


def _small(rgb: UInt8) -> Float32:
    height, width = rgb.shape[:2]
    scale = SIDE / max(height, width)
    size = max(PATCH, round(width * scale)), max(PATCH, round(height * scale))
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)


def _patches(grey: Float32) -> list[tuple[int, int, Float32]]:
    """(v, u, patch) of those with contrast, on a grid that reaches the rims."""
    height, width = grey.shape
    rows = np.linspace(0, height - PATCH, max(1, height // PATCH)).round().astype(int)
    columns = np.linspace(0, width - PATCH, max(1, width // PATCH)).round().astype(int)
    cut = ((v, u, grey[v : v + PATCH, u : u + PATCH]) for v, u in product(rows, columns))
    return [each for each in cut if each[2].std() >= MIN_CONTRAST]


def _share_found(patches: list[tuple[int, int, Float32]], before: Float32) -> float:
    found = 0
    for v, u, patch in patches:
        area = before[max(0, v - REACH) : v + PATCH + REACH, max(0, u - REACH) : u + PATCH + REACH]
        found += float(cv2.matchTemplate(area, patch, cv2.TM_CCOEFF_NORMED).max()) >= FOUND
    return found / len(patches)
