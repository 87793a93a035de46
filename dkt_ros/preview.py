"""A quick look at a result: the pictures and the depth side by side, as a video or, where none can be written, PNGs."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from dkt_ros.frames import Estimate, Float32, UInt8

#: RGB of a pixel without depth. Not a colour of the map.
HOLE = (255, 0, 255)


def colour_depth(depth: Float32, near_m: float, far_m: float) -> UInt8:
    """(H, W) metres -> (H, W, 3) RGB: near is red, far is blue (turbo), even steps in 1/z; NaN is magenta."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return colour_disparity(1.0 / depth, 1.0 / far_m, 1.0 / near_m)


def colour_disparity(disparity: Float32, low: float, high: float) -> UInt8:
    """(H, W) disparity -> (H, W, 3) RGB: ``high`` (near) is red, ``low`` (far) is blue; not finite is magenta."""
    known = np.isfinite(disparity)
    share = np.clip((np.where(known, disparity, low) - low) / max(high - low, 1e-12), 0.0, 1.0)
    coloured = cv2.applyColorMap(np.rint(255 * share).astype(np.uint8), cv2.COLORMAP_TURBO)[..., ::-1]
    return np.where(known[..., None], coloured, np.array(HOLE, np.uint8)).astype(np.uint8)


class Preview:
    """Context manager: ``add`` one estimate at a time; ``path`` (file or folder) is there when the block ends well.

    Colours span the 2nd to the 98th percentile of the first frame's disparity and stay, so that they can be compared.
    """

    def __init__(self, folder: Path, rate_hz: float) -> None:
        self.path = folder / "preview.mp4"
        self._temporary = folder / f".preview.{os.getpid()}.partial.mp4"
        self._pictures = folder / "preview"
        self._rate_hz = rate_hz
        self._writer: cv2.VideoWriter | None = None
        self._span: tuple[float, float] | None = None
        self._count = 0

    def __enter__(self) -> Preview:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.release()
        try:
            if kind is None and self._temporary.exists():
                os.replace(self._temporary, self.path)
        finally:
            self._temporary.unlink(missing_ok=True)

    def add(self, estimate: Estimate) -> None:
        """One more frame."""
        disparity = estimate.disparity
        if estimate.depth is not None:
            with np.errstate(divide="ignore", invalid="ignore"):
                disparity = (1.0 / estimate.depth).astype(np.float32)
        if self._span is None:
            known = disparity[np.isfinite(disparity)]
            low, high = np.percentile(known, (2, 98)) if known.size else (0.0, 1.0)
            self._span = float(low), float(high)
        picture = np.concatenate([estimate.frame.rgb, colour_disparity(disparity, *self._span)], axis=1)
        self._write(np.ascontiguousarray(picture[..., ::-1]))

    def _write(self, bgr: UInt8) -> None:
        if self._count == 0:
            height, width = bgr.shape[:2]
            code = cv2.VideoWriter.fourcc(*"mp4v")
            writer = cv2.VideoWriter(str(self._temporary), code, self._rate_hz, (width, height))
            self._writer = writer if writer.isOpened() else None
            if self._writer is None:
                self._pictures.mkdir(exist_ok=True)
                self.path = self._pictures
        if self._writer is not None:
            self._writer.write(bgr)
        else:
            cv2.imwrite(str(self._pictures / f"{self._count:06d}.png"), bgr)
        self._count += 1
