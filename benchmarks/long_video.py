"""The memory that `dkt run` needs for a long video beside that for a short one.

    python -m benchmarks.long_video                        10,000 frames beside 200, with the bundled engine
    python -m benchmarks.long_video --frames 2000 --engine dvd --weights DIR     any options of `dkt run` go along

Makes both videos itself (a camera that wanders over a cluttered picture, 160x96), runs each in a process of its own,
and prints the greatest resident memory of the two and its ratio.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

SIZE = (160, 96)
SHORT = 200


def picture(seed: int = 0) -> NDArray[np.uint8]:
    """(3 * height, 3 * width, 3) uint8: boxes of all sizes, softened."""
    rng = np.random.default_rng(seed)
    width, height = 3 * SIZE[0], 3 * SIZE[1]
    drawn = np.full((height, width, 3), 128, np.uint8)
    for _ in range(150):
        u, v = int(rng.integers(-20, width)), int(rng.integers(-20, height))
        w, h = (int(side) for side in rng.integers(8, 90, 2))
        cv2.rectangle(drawn, (u, v), (u + w, v + h), rng.uniform(0, 255, 3).tolist(), -1)
    return cv2.GaussianBlur(drawn, (0, 0), 1.5).astype(np.uint8)


def write_video(path: Path, frames: int) -> None:
    """A closed path over the picture, at 30 frames per second."""
    wide = picture()
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 30.0, SIZE)
    if not writer.isOpened():
        sys.exit("this OpenCV cannot write MP4")
    for index in range(frames):
        u = SIZE[0] + round(0.9 * SIZE[0] * np.cos(index / 40))
        v = SIZE[1] + round(0.9 * SIZE[1] * np.sin(index / 61))
        writer.write(np.ascontiguousarray(wide[v : v + SIZE[1], u : u + SIZE[0]]))
    writer.release()


def peak_mb(video: Path, out: Path, options: list[str]) -> tuple[float, float]:
    """Greatest resident memory of `dkt run` in MB, and the seconds that it took."""
    start = time.monotonic()
    command = [sys.executable, "-m", "dkt_ros.cli", "run", str(video), "--out", str(out), *options]
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"`{' '.join(command)}` failed")
    return usage.ru_maxrss / 1024, time.monotonic() - start


def main() -> None:
    """Make, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=10_000, metavar="N", help="of the long video (%(default)s)")
    arguments, options = parser.parse_known_args()
    peaks = []
    with tempfile.TemporaryDirectory() as name:
        for frames in (SHORT, arguments.frames):
            video = Path(name) / f"{frames}.mp4"
            write_video(video, frames)
            peak, seconds = peak_mb(video, Path(name) / "out", options)
            peaks.append(peak)
            print(f"{frames} frames: peak {peak:.0f} MB, {seconds:.0f} s, {1e3 * seconds / frames:.1f} ms/frame")
    print(f"ratio: {peaks[1] / peaks[0]:.3f}")


if __name__ == "__main__":
    main()
