"""A quick look at a result: the pictures and the depth side by side, as a video or, where none can be written, PNGs."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from dkt_ros.frames import Estimate, Float32, UInt8

#: RGB of a pixel without depth. Not a colour of the map.
HOLE = (255, 0, 255)


def colour_disparity(disparity: Float32, low: float, high: float) -> UInt8:
    """(H, W) disparity -> (H, W, 3) RGB: ``high`` (near) is red, ``low`` (far) is blue; not finite is magenta."""
    known = np.isfinite(disparity)
    share = np.clip((np.where(known, disparity, low) - low) / max(high - low, 1e-12), 0.0, 1.0)
    coloured = cv2.applyColorMap(np.rint(255 * share).astype(np.uint8), cv2.COLORMAP_TURBO)[..., ::-1]
    return np.where(known[..., None], coloured, np.array(HOLE, np.uint8)).astype(np.uint8)


def colour_spectral(disparity: Float32, low: float, high: float) -> UInt8:
    """The same in DKT's own colours; not finite is magenta."""
    from dkt_ros.engines.pictures import spectral  # brings torch along

    known = np.isfinite(disparity)
    coloured = spectral(np.where(known, disparity, low).astype(np.float32), limits=(low, high))
    return np.where(known[..., None], coloured, np.array(HOLE, np.uint8)).astype(np.uint8)


_COLOURS = {"turbo": colour_disparity, "spectral": colour_spectral}


class Preview:
    """Context manager: ``add`` one estimate at a time; ``path`` (file or folder) is there when the block ends well.

    Colours span the 2nd to the 98th percentile of the first frame's disparity and stay, so that they can be compared.

    Args:
        folder: where ``path`` appears.
        rate_hz: of the video.
        colours: "turbo", or "spectral" as DKT's own pictures.

    Raises:
        OSError: on leaving the block, the preview could not be written whole; nothing of it is left then.
    """

    def __init__(self, folder: Path, rate_hz: float, colours: str = "turbo") -> None:
        self.path = folder / "preview.mp4"
        self._temporary = folder / f".preview.{os.getpid()}.partial.mp4"
        self._rate_hz = rate_hz
        self._colours = colours
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
            if kind is None and self._count:
                self._finish()
        finally:
            self._temporary.unlink(missing_ok=True)
            shutil.rmtree(self._pictures, ignore_errors=True)

    @property
    def _pictures(self) -> Path:
        """Where single pictures go before they have their name."""
        return self._temporary.with_suffix("")

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
        coloured = _COLOURS[self._colours](disparity, *self._span)
        picture = np.concatenate([estimate.frame.rgb, coloured], axis=1)
        self._write(np.ascontiguousarray(picture[..., ::-1]))

    def _write(self, bgr: UInt8) -> None:
        if self._count == 0:
            height, width = bgr.shape[:2]
            code = cv2.VideoWriter.fourcc(*"mp4v")
            writer = cv2.VideoWriter(str(self._temporary), code, self._rate_hz, (width, height))
            self._writer = writer if writer.isOpened() else None
            if self._writer is None:
                self._pictures.mkdir()
                self.path = self.path.with_suffix("")
        if self._writer is not None:
            self._writer.write(bgr)
        else:
            # OpenCV's own writer does not tell when a disk is full.
            (self._pictures / f"{self._count:06d}.png").write_bytes(cv2.imencode(".png", bgr)[1].tobytes())
        self._count += 1

    def _finish(self) -> None:
        if self._writer is None:
            shutil.rmtree(self.path, ignore_errors=True)
            os.replace(self._pictures, self.path)
            return
        written = _frame_count(self._temporary)
        if written != self._count:  # OpenCV's writer does not tell either
            what = f"only {written} of {self._count} frames were written; the disk may be full"
            raise OSError(errno.EIO, what, str(self.path))
        os.replace(self._temporary, self.path)


def _frame_count(video: Path) -> int:
    capture = cv2.VideoCapture(str(video))
    try:
        return int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
    finally:
        capture.release()
