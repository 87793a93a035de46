"""What passes between the rooms: frame, clip, prediction, estimate.

Arrays follow three rules everywhere in this package:

* depth is float32 metres along the optical axis Z (REP 118), NaN where unknown, never 0;
* images are indexed ``[v, u]`` and the centre of the top-left pixel is ``(u, v) = (0, 0)`` (the convention of
  ``sensor_msgs/CameraInfo``), so a pinhole camera with its axis in the picture's middle has ``cx = (width - 1) / 2``;
* vectors are in the optical frame (x right, y down, z forward, REP 103).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
UInt8 = NDArray[np.uint8]

#: (nx, ny, nz, d) in an optical frame: ``n . p + d = 0`` for the points p of the plane, metres. n has unit length and
#: points up from the plane, so d is the camera's height over it; d <= 0 means that the camera is not above it.
Plane = tuple[float, float, float, float]

#: What relative disparity is tied to metres by.
Anchor = Literal["sensor", "plane", "fixed", "engine"]

#: Provenance of one pixel of an estimate.
PROVENANCE_NONE, PROVENANCE_MEASURED, PROVENANCE_INFERRED = 0, 1, 2


@dataclass(frozen=True)
class Intrinsics:
    """Pinhole camera, in pixels of an image of ``width`` x ``height``.

    Raises:
        ValueError: a focal length is not positive and finite, the principal point is not finite, or a size is below 1.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int

    def __post_init__(self) -> None:
        for name in ("fx", "fy"):
            value = getattr(self, name)
            if not np.isfinite(value) or value <= 0:
                raise ValueError(f"focal length {name} = {value}: must be finite and positive; calibrate the camera")
        for name in ("cx", "cy"):
            if not np.isfinite(getattr(self, name)):
                value = getattr(self, name)
                raise ValueError(f"principal point {name} = {value}: must be finite; calibrate the camera")
        if self.width < 1 or self.height < 1:
            raise ValueError(f"image size {self.width}x{self.height}: must be at least 1x1")

    def resized(self, width: int, height: int) -> Intrinsics:
        """The same camera seen by an image of another size (pixel centres at integer coordinates)."""
        sx, sy = width / self.width, height / self.height
        return Intrinsics(
            self.fx * sx, self.fy * sy, (self.cx + 0.5) * sx - 0.5, (self.cy + 0.5) * sy - 0.5, width, height
        )


@dataclass(frozen=True)
class Frame:
    """One moment of the camera.

    Attributes:
        stamp_ns: time of exposure, nanoseconds.
        frame_id: TF frame of the camera's optical centre.
        rgb: (H, W, 3) uint8, RGB order.
        intrinsics: of ``rgb``; None if the camera is uncalibrated (then no points and no normals from depth).
        sensor_depth: (H, W) float32 metres registered to ``rgb``, NaN where the sensor returned nothing; None without
            a depth sensor.
        transparent: (H, W) bool, True where something is known to be transparent; None if nobody said.
        plane: the table top that the camera looks at, in its optical frame at this moment; None if nobody said.
    """

    stamp_ns: int
    frame_id: str
    rgb: UInt8
    intrinsics: Intrinsics | None = None
    sensor_depth: Float32 | None = None
    transparent: NDArray[np.bool_] | None = None
    plane: Plane | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of ``rgb``."""
        return self.rgb.shape[1], self.rgb.shape[0]


@dataclass(frozen=True)
class Clip:
    """4n+1 consecutive frames of one size, oldest first.

    Attributes:
        frames: the frames.
        overlap: how many of the first frames stood in the previous clip too; 0 after a start, a gap or a reset.
        padding: how many of the last frames only repeat the last real one (to reach 4n+1); never published or scored.
        follows: True if it continues the previous clip even where they share no frame (clips of one frame).
    """

    frames: tuple[Frame, ...]
    overlap: int = 0
    padding: int = 0
    follows: bool = False

    @property
    def starts(self) -> bool:
        """Whether nothing before it belongs to it: a start, a gap or a reset."""
        return not self.follows and self.overlap == 0

    @property
    def fresh(self) -> slice:
        """The frames that no earlier clip held and that are real."""
        return slice(self.overlap, len(self.frames) - self.padding)


@dataclass(frozen=True)
class Prediction:
    """What an engine says about one clip, at the engine's working size (h, w), over the same field of view.

    Attributes:
        disparity: (T, h, w) float32, larger is nearer. Related to true inverse depth 1/z by one positive scale and one
            shift for the whole clip; ``kind`` says whether those are known.
        normals: (T, h, w, 3) float32 unit vectors in the optical frame, toward the camera; None if the engine gives
            none.
        kind: "affine": scale and shift unknown; "metric": disparity is 1/z in 1/m already.
        same_units: True if scale and shift are those of the engine's previous clip.
    """

    disparity: Float32
    normals: Float32 | None = None
    kind: Literal["affine", "metric"] = "affine"
    same_units: bool = False


@dataclass(frozen=True)
class MetricFit:
    """How relative disparity became metres: ``1/z = scale * disparity + shift``.

    Attributes:
        scale, shift: of the map, 1/m; meaningless where ``accepted`` is False.
        scale_sigma: standard error of ``scale``.
        residual: robust (1.4826 MAD) residual of the trusted pixels, 1/m.
        inlier_share: share of the trusted pixels within three residuals, 0..1.
        pixels: how many trusted pixels entered.
        accepted: False if the fit was refused.
        reason: why it was refused, or what was held over from earlier clips and why, in words with the numbers; ""
            for a plain fit.
        anchor: where the metres come from: the depth sensor, a known plane, the fixed scale that the user set, or the
            engine itself. Of a refused fit: the anchor that was tried.
        held: True if nothing new could be fitted and the last accepted fit goes on.
    """

    scale: float
    shift: float
    scale_sigma: float
    residual: float
    inlier_share: float
    pixels: int
    accepted: bool
    reason: str = ""
    anchor: Anchor = "sensor"
    held: bool = False


@dataclass(frozen=True)
class Estimate:
    """What is published for one frame, at the frame's own size (H, W).

    Attributes:
        frame: the frame that this belongs to.
        disparity: (H, W) float32 relative disparity of the model after stitching; larger is nearer.
        depth: (H, W) float32 metres, NaN where unknown; None if no metric fit was accepted.
        normals: (H, W, 3) float32 unit vectors, optical frame, toward the camera, NaN where unknown; None if neither
            the engine nor metric depth gave any.
        normals_source: "model", "depth" or "none".
        provenance: (H, W) uint8, PROVENANCE_*: none, measured by the sensor, inferred by the model.
        confidence: (H, W) float32 0..1; 0 where there is no depth.
        fit: how disparity became metres; None if there was nothing to fit to.
    """

    frame: Frame
    disparity: Float32
    depth: Float32 | None
    normals: Float32 | None
    normals_source: Literal["model", "depth", "none"]
    provenance: UInt8
    confidence: Float32
    fit: MetricFit | None
