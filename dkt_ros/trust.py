"""Which values of the depth sensor are believed.

On glass a depth sensor is mostly wrong, not silent: it returns what stands behind. So existence of a value is no
trust. Two steps: ``sensor_trust`` looks at the sensor alone, ``gate.disagreement_gate`` compares it with the model
afterwards.
Pixel distances in the settings are of a picture 640 wide and scale with its width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from dkt_ros.frames import Float32

Mask = NDArray[np.bool_]

#: Stands for an unknown value where the nearest of a neighbourhood is sought; finite, so that no product overflows.
_FAR = np.float32(1e6)


@dataclass(frozen=True)
class TrustSettings:
    """When a sensor value is believed.

    Attributes:
        min_depth, max_depth: metres; outside, nothing is believed, and no depth is published.
        flying_jump: a value between a nearer and a farther surface, or alone among others, is a mixture of the two if
            it is off by more than this share.
        temporal_jump: a value that neither neighbour frame has nearby, by more than this share, is a flicker.
        motion_px: how far the picture may move between two frames for the temporal check, pixels at width 640.
        temporal_limit: if more than this share of a frame's values would be flicker, the camera moved faster than
            ``motion_px`` or the view was cut, and the check is left out for that frame.
        mask_dilation_px: how far a given transparent mask is widened, pixels at width 640.
        gate: False leaves out ``disagreement_gate``.
        gate_cells: the comparison with the model is made on a grid this wide: about the model's own resolution, below
            which it says nothing.
        gate_sigmas, gate_relative: sensor and model disagree where 1/z differs by more than this many robust standard
            deviations of the frame and by more than this share.
        gate_nearer: a sensor value nearer than the model needs this many times the evidence, since glass makes sensors
            see too far; what is nearer is mostly an object that the model missed.
        gate_area: cells that must disagree together.
        gate_islands: what is left of the sensor in regions smaller than this, cut off from the rest, must agree with
            the model like a rim, or goes too.
        gate_growth: how many cells a disagreeing region may grow over cells that disagree a third as much.
    """

    min_depth: float = 0.15
    max_depth: float = 10.0
    flying_jump: float = 0.05
    temporal_jump: float = 0.05
    motion_px: float = 8.0
    temporal_limit: float = 0.05
    mask_dilation_px: float = 10.0
    gate: bool = True
    gate_cells: int = 160
    gate_sigmas: float = 3.0
    gate_relative: float = 0.02
    gate_nearer: float = 3.0
    gate_area: int = 6
    gate_islands: int = 30
    gate_growth: int = 4

    def __post_init__(self) -> None:
        if not 0 < self.min_depth < self.max_depth:
            raise ValueError(
                f"min_depth {self.min_depth}, max_depth {self.max_depth}: must be positive and ascending, in metres"
            )
        if self.gate_cells < 16:
            raise ValueError(f"gate_cells {self.gate_cells}: a grid this coarse finds no object; use 16 or more")


@dataclass(frozen=True)
class _Alone:
    """What one frame says by itself. ``depth`` and ``transparent`` are held so that no other array takes their place.

    Attributes:
        believed: (H, W) bool: in range and no flying pixel.
        hidden: (H, W) bool, the widened transparent mask; None without one.
        nearest, farthest: (h, w) float32, range of every cell.
        lowest, highest: (h, w) float32: a value outside is like nothing that this frame has around its cell.
    """

    depth: Float32
    transparent: Mask | None
    believed: Mask
    hidden: Mask | None
    nearest: Float32
    farthest: Float32
    lowest: Float32
    highest: Float32


class SensorTrust:
    """``sensor_trust`` for successive clips: of frames that clips share, each is looked at once.

    What a frame says by itself, and beside the same two neighbours, is kept as long as the clips hold the frame. Arrays
    are told apart by identity: between two clips nobody may write to them.
    """

    def __init__(self) -> None:
        self._settings = TrustSettings()
        self._alone: dict[tuple[int, int], _Alone] = {}
        self._beside: dict[tuple[int, int, int], Mask] = {}

    def reset(self) -> None:
        """Forget all frames."""
        self._alone, self._beside = {}, {}

    def of(
        self, depths: Sequence[Float32], transparent: Sequence[Mask | None], settings: TrustSettings | None = None
    ) -> Float32:
        """(T, H, W) float32, 0 or 1, of T (H, W) sensor depths and as many masks; see ``sensor_trust``."""
        settings = settings or TrustSettings()
        if settings != self._settings:
            self.reset()
            self._settings = settings
        # Both at once: a frame that cannot be looked at must leave no judgement by the identity of dead arrays.
        known, self._alone = self._alone, {}
        judged, self._beside = self._beside, {}
        frames = []
        for depth, mask in zip(depths, transparent, strict=True):
            key = id(depth), id(mask)
            frame = self._alone.get(key) or known.get(key) or _look(depth, mask, settings)
            self._alone[key] = frame
            frames.append(frame)
        trust = np.empty((len(frames), *depths[0].shape), np.float32)
        for t, frame in enumerate(frames):
            believed = frame.believed
            if len(frames) >= 3 and frame.nearest.size:
                one, other = _neighbours(frames, t)
                triple = id(one), id(frame), id(other)
                if triple not in judged:
                    judged[triple] = _without_flicker(frame, one, other, settings)
                believed = self._beside[triple] = judged[triple]
            trust[t] = believed if frame.hidden is None else believed & ~frame.hidden
        return trust


def sensor_trust(sensor_depth: Float32, transparent: Mask | None, settings: TrustSettings | None = None) -> Float32:
    """How far each value of a clip's sensor depth is believed, from the sensor alone.

    1 where a value exists, lies in range, is no flying pixel, no flicker and outside the widened transparent mask;
    else 0.
    The flicker check needs no camera motion: a value is believed if a neighbour frame (t - 1 and t + 1; two on one
    side at the clip's ends) has values around it, nearer and farther or like it, within ``motion_px``.

    Args:
        sensor_depth: (T, H, W) float32 metres, NaN where the sensor returned nothing.
        transparent: (T, H, W) bool, True where something is known to be transparent; None if nobody said.
        settings: see ``TrustSettings``.

    Returns:
        (T, H, W) float32, 0 or 1.

    Raises:
        ValueError: the shapes differ.
    """
    if sensor_depth.ndim != 3 or (transparent is not None and transparent.shape != sensor_depth.shape):
        shape = None if transparent is None else transparent.shape
        raise ValueError(f"sensor depth {sensor_depth.shape}, transparent {shape}: must be the same (T, H, W)")
    masks = [None] * len(sensor_depth) if transparent is None else list(transparent)
    return SensorTrust().of(list(sensor_depth), masks, settings)


def _look(depth: Float32, transparent: Mask | None, settings: TrustSettings) -> _Alone:
    """What one frame, (H, W), says by itself."""
    size = _cell(depth.shape[1])
    believed, nearest, farthest = _static(depth, settings, size)
    hidden = None
    if transparent is not None:
        kernel = _disc(round(settings.mask_dilation_px * depth.shape[1] / 640))
        hidden = np.asarray(cv2.dilate(transparent.astype(np.uint8), kernel)).view(bool)
    lowest, highest = nearest, farthest
    if nearest.size:
        motion = int(np.ceil(settings.motion_px * depth.shape[1] / 640 / size))
        kernel = np.ones((2 * motion + 1, 2 * motion + 1), np.uint8)
        lowest = np.asarray(cv2.erode(nearest, kernel) * np.float32(1 - settings.temporal_jump), np.float32)
        highest = np.asarray(cv2.dilate(farthest, kernel) * np.float32(1 + settings.temporal_jump), np.float32)
        # A frame that knows nothing around cannot judge.
        np.copyto(lowest, 0, where=highest == 0)
        np.copyto(highest, _FAR, where=highest == 0)
    return _Alone(depth, transparent, believed, hidden, nearest, farthest, lowest, highest)


def _static(depth: Float32, settings: TrustSettings, size: int) -> tuple[Mask, Float32, Float32]:
    """(H, W) bool: in range and no flying pixel; and nearest and farthest value of every cell of ``size`` pixels."""
    reach = size // 2
    believed = depth >= settings.min_depth
    believed &= depth <= settings.max_depth
    mask = believed.view(np.uint8)
    present = np.asarray(cv2.copyTo(depth, mask), np.float32)  # 0 elsewhere
    kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    farthest = np.asarray(cv2.dilate(present, kernel), np.float32)
    nearest = np.asarray(cv2.erode(cv2.copyTo(depth, mask, np.full_like(depth, _FAR)), kernel), np.float32)
    # Windows of size + 1 at every size pixels hold every pixel of their cell.
    rows, columns = depth.shape[0] // size * size, depth.shape[1] // size * size
    middles = (slice(reach, rows, size), slice(reach, columns, size))
    cells = nearest[middles].copy(), farthest[middles].copy()
    margin = present * np.float32(settings.flying_jump)
    # Fewer than half of the 3x3 returned anything like it: a speck, or the frayed tip of a hole's rim.
    alone = np.asarray(cv2.absdiff(cv2.medianBlur(present, 3), present)) > margin
    between = farthest > present + margin
    between &= nearest < np.subtract(present, margin, out=margin)
    between |= alone
    believed &= np.logical_not(between, out=between)
    return believed, *cells


def _cell(width: int) -> int:
    """Pixels of a cell of the flicker check; its half is how far from a value a flying pixel's surfaces are sought."""
    return 4 if width >= 320 else 2


def _neighbours(frames: Sequence[_Alone], t: int) -> tuple[_Alone, _Alone]:
    """The two frames that judge frame ``t`` of at least three."""
    last = len(frames) - 1
    one, other = (1, 2) if t == 0 else (last - 2, last - 1) if t == last else (t - 1, t + 1)
    return frames[one], frames[other]


def _without_flicker(frame: _Alone, one: _Alone, other: _Alone, settings: TrustSettings) -> Mask:
    """(H, W) bool: ``frame.believed`` without the values that neither neighbour has anything like nearby.

    Pixels are compared only in cells whose own range leaves the range around them in both neighbours.
    """
    odd = (frame.nearest < one.lowest) | (frame.farthest > one.highest)
    odd &= (frame.nearest < other.lowest) | (frame.farthest > other.highest)
    if not odd.any():
        return frame.believed
    # What is left over beside the last cells of a row or column belongs to them.
    size = _cell(frame.depth.shape[1])
    height, width = frame.depth.shape
    down = np.minimum(np.arange(-(-height // size)), odd.shape[0] - 1)
    across = np.minimum(np.arange(-(-width // size)), odd.shape[1] - 1)
    v, u = np.nonzero(odd[down[:, None], across])
    top, left, cells = np.minimum(v * size, height - size), np.minimum(u * size, width - size), (down[v], across[u])
    values = sliding_window_view(frame.depth, (size, size))[top, left]
    strange = np.ones(values.shape, bool)
    for judge in (one, other):
        lowest, highest = (bound[cells][:, None, None] for bound in (judge.lowest, judge.highest))
        strange &= (values < lowest) | (values > highest)
    unlike = np.zeros_like(frame.believed)
    sliding_window_view(unlike, (size, size), writeable=True)[top, left] = strange
    unlike &= frame.believed
    if np.count_nonzero(unlike) > settings.temporal_limit * np.count_nonzero(frame.believed):
        return frame.believed
    return np.asarray(frame.believed & ~unlike, bool)


def _disc(radius: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)), np.uint8)
