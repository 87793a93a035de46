"""Sensor statistics: counted right on a made-up sensor, and the real frames' numbers measured again."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from dkt_ros.training.render.sensor_statistics import REAL, SensorStatistics, sensor_statistics, statistics_table

SAMPLES = Path(__file__).parents[3] / "shared/samples"
needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason=f"no {SAMPLES}: the real frames are not in the project")


def test_every_transparent_pixel_is_counted_once_and_the_rest_apart() -> None:
    depth, background = np.full((10, 20), 0.5, np.float32), np.full((10, 20), 0.7, np.float32)
    background[:, 18:] = 0.51  # too near to be told apart
    sensor = depth.copy()
    glass = np.zeros(depth.shape, bool)
    glass[:5] = True
    sensor[:2, :9], sensor[2, :9], sensor[3, :9], sensor[4, :9] = np.nan, 0.505, 0.695, 0.6
    sensor[:5, 9:18] = 0.8
    sensor[5:, :4] = np.nan
    row = sensor_statistics("made up", sensor, depth, background, glass, 20.0)
    shares = (row.holes, row.first_surface, row.background, row.wrong, row.between, row.other_holes, row.noise)
    np.testing.assert_allclose(shares, (0.2, 0.1, 0.1, 0.6, 1 / 6, 0.2, 0.0), atol=1e-6)


def test_the_table_gives_means_and_ranges_beside_the_real_frames() -> None:
    rows = [SensorStatistics("drawn", x, 1 - x, 0.0, 0.0, float("nan"), x, x) for x in (0.2, 0.4)]
    table = statistics_table(rows).splitlines()
    assert len(table) == 1 + 1 + len(REAL)
    assert "drawn, 2 sequences" in table[1] and "0.30 (0.21-0.39)" in table[1] and "0.70" in table[1]
    assert "ClearGrasp 000000080" in table[2] and "0.47" in table[2] and "-" in table[-1]
    assert len({len(line) for line in table}) == 1, "columns are aligned"


@needs_samples
@pytest.mark.parametrize("expected", REAL[:2], ids=lambda row: row.name)
def test_the_numbers_of_the_pairs_are_those_of_the_files(expected: SensorStatistics) -> None:
    pytest.importorskip("OpenEXR")
    from dkt_ros.datasets.cleargrasp import read_pair

    pair = read_pair(SAMPLES / "cleargrasp", expected.name.split()[1])
    assert pair.sensor_depth is not None and pair.intrinsics is not None and pair.transparent is not None
    glass, twin = pair.transparent, pair.depth
    table = plane(twin, ~glass)
    row = sensor_statistics(expected.name, pair.sensor_depth, twin, table, glass, pair.intrinsics.fx)
    for name in ("holes", "first_surface", "background", "wrong", "between", "other_holes"):
        assert getattr(row, name) == pytest.approx(getattr(expected, name), abs=0.02), name
    assert row.noise / 2**0.5 == pytest.approx(expected.noise, abs=0.005), "both frames of the pair have noise"


def plane(depth: np.ndarray, where: np.ndarray) -> np.ndarray:
    """(H, W) depth of the plane that most of the pixels ``where`` lie on, in 1/z within 0.01 per metre."""
    height, width = depth.shape
    v, u = np.mgrid[:height, :width]
    terms = np.stack([u / width, v / height, np.ones(u.shape)], -1)
    known = where & np.isfinite(depth)
    a, b = terms[known], 1 / depth[known].astype(float)
    rng = np.random.default_rng(0)
    guesses = [np.linalg.lstsq(a[pick], b[pick], rcond=None)[0] for pick in rng.integers(len(b), size=(300, 3))]
    best = max(guesses, key=lambda guess: int((np.abs(a[::97] @ guess - b[::97]) < 0.01).sum()))
    for _ in range(3):
        on = np.abs(a @ best - b) < 0.01
        best = np.linalg.lstsq(a[on], b[on], rcond=None)[0]
    return (1 / (terms @ best)).astype(np.float32)


@needs_samples
@pytest.mark.parametrize("expected", REAL[2:], ids=lambda row: row.name)
def test_the_holes_of_the_other_frames_are_those_of_the_files(expected: SensorStatistics) -> None:
    raw = cv2.imread(str(SAMPLES / "lingbot" / expected.name.split()[1] / "raw_depth.png"), cv2.IMREAD_UNCHANGED)
    assert (raw == 0).mean() == pytest.approx(expected.other_holes, abs=0.001)
