"""The computer of an active stereo camera: infrared pictures under one exposure, semi-global matching. No bpy."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from dkt_ros.frames import Float32, UInt8

#: Metres between the infrared cameras, and the nearest and farthest distance that is matched (files hold 65.5 m).
BASELINE, NEAREST, FARTHEST = 0.055, 0.25, 60.0
#: The infrared pictures are enlarged by the least whole factor that makes them this wide.
LEAST = 300
#: Photons of a white pixel, for shot noise.
WELL = 2000


@dataclass(frozen=True)
class Optics:
    """The infrared cameras, in their own pixels.

    They have ``margin`` more columns on the left, without which the right camera would not see what the left one has
    there; as many disparities are tried. The ray of RGB pixel (u, v) goes through (margin + first + factor u,
    first + factor v) of the left camera.
    """

    width: int
    height: int
    focal: float
    cx: float
    cy: float
    margin: int
    factor: int
    first: int

    def to_rgb(self, depth: Float32) -> Float32:
        """(T, H, W) of (T, height, width): what the rays of the RGB pixels met."""
        return depth[:, self.first :: self.factor, self.margin + self.first :: self.factor]


def optics_for(width: int, height: int, focal: float) -> Optics:
    """The infrared cameras for RGB pictures of this size and focal length (pixels), axis in the middle."""
    factor = max(-(-LEAST // width), 1)
    first = (factor - 1) // 2
    margin = int(np.ceil(factor * focal * BASELINE / NEAREST / 16)) * 16
    cx, cy = margin + first + factor * (width - 1) / 2, first + factor * (height - 1) / 2
    return Optics(margin + factor * width, factor * height, factor * focal, cx, cy, margin, factor, first)


def expose(left: Float32, right: Float32, rng: np.random.Generator) -> tuple[UInt8, UInt8]:
    """Light (H, W) as bytes under one exposure, with shot noise.

    The camera's white is 1.5 times what 98 % of the left picture stay below. The bytes go with the square root of the
    photons, which makes their noise the same everywhere.
    """
    white = 1.5 * max(float(np.percentile(left, 98)), 1e-6)
    pictures = []
    for light in (left, right):
        photons = rng.poisson(WELL * np.clip(light / white, 0, 1))
        pictures.append(np.round(255 * np.sqrt(np.minimum(photons / WELL, 1))).astype(np.uint8))
    return pictures[0], pictures[1]


def match(left: UInt8, right: UInt8, optics: Optics) -> Float32:
    """(H, W) metres of the left picture, NaN where nothing is found or left and right differ by over a pixel."""
    matcher = cv2.StereoSGBM.create(
        minDisparity=0,
        numDisparities=optics.margin,
        blockSize=7,
        P1=8 * 49,
        P2=32 * 49,
        disp12MaxDiff=1,
        uniquenessRatio=10,
        speckleWindowSize=40,
        speckleRange=2,
        mode=cv2.STEREO_SGBM_MODE_SGBM_3WAY,
    )
    disparity = matcher.compute(left, right).astype(np.float32) / 16
    least = max(0.5, optics.focal * BASELINE / FARTHEST)
    depth = optics.focal * BASELINE / np.maximum(disparity, least)
    return np.where(disparity > least, depth, np.nan).astype(np.float32)
