"""ClearGrasp's files: both kinds of invalid depth, normals in the optical frame, checked against depth."""

from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("OpenEXR", reason="OpenEXR is not installed: pip install OpenEXR")

from dkt_ros.datasets.cleargrasp import read_normals, read_pair
from dkt_ros.datasets.files import Damaged, read_exr_plane
from dkt_ros.datasets.sample import known

SAMPLES = Path(__file__).parents[2] / "../shared/samples/cleargrasp"
NAMES = ("000000080", "000000123")
needs_samples = pytest.mark.skipif(not SAMPLES.exists(), reason="../shared/samples is not beside this checkout")


def write_exr(path: Path, pixels: np.ndarray) -> None:
    import OpenEXR

    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    with OpenEXR.File(header, {"RGB": np.ascontiguousarray(pixels.astype(np.float16))}) as file:
        file.write(str(path))


def test_zero_and_nan_are_both_invalid(tmp_path: Path) -> None:
    write_exr(tmp_path / "depth.exr", np.repeat(np.array([[0.5, 0.0], [np.nan, -1.0]])[..., None], 3, -1))
    depth = known(read_exr_plane(tmp_path / "depth.exr"))
    assert depth.dtype == np.float32 and depth[0, 0] == 0.5
    assert np.isnan(depth).sum() == 3


def test_normals_are_turned_to_the_optical_frame(tmp_path: Path) -> None:
    write_exr(tmp_path / "normals.exr", np.array([[[0.0, 0.6, 0.8], [-1.0, -1.0, -1.0]]]))
    normals = read_normals(tmp_path / "normals.exr")
    np.testing.assert_allclose(normals[0, 0], [0, -0.6, -0.8], atol=1e-3)
    assert np.isnan(normals[0, 1]).all()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "000000001-mask.png"), np.zeros((2, 2), np.uint8))
    with pytest.raises(Damaged, match=r"000000001-transparent-rgb-img\.jpg: is missing"):
        read_pair(tmp_path, "000000001")


@needs_samples
@pytest.mark.parametrize("name", NAMES)
def test_the_real_pairs(name: str) -> None:
    pair = read_pair(SAMPLES, name)
    assert pair.rgb.shape == (720, 1280, 3) and pair.intrinsics.fx == 921
    for depth in (pair.sensor_depth, pair.depth):
        assert np.nanmin(depth) > 0.3 and np.nanmedian(depth) < 1.5 and not (depth <= 0).any()
    assert 0.005 < pair.transparent.mean() < 0.3
    assert np.nanmedian(pair.normals[..., 2]) < -0.2  # toward the camera


@needs_samples
def test_the_normals_fit_the_depth_beside_them() -> None:
    """The sign convention, checked: with any other sign the mean angle is above 60 degrees."""
    pair = read_pair(SAMPLES, NAMES[0])
    camera, depth = pair.intrinsics, pair.depth
    smooth = cv2.GaussianBlur(np.nan_to_num(depth, nan=float(np.nanmedian(depth))), (0, 0), 6)
    v, u = np.mgrid[: smooth.shape[0], : smooth.shape[1]]
    points = np.stack([(u - camera.cx) / camera.fx * smooth, (v - camera.cy) / camera.fy * smooth, smooth], -1)
    across = np.gradient(points, axis=1)
    down = np.gradient(points, axis=0)
    computed = np.cross(down, across)
    computed /= np.linalg.norm(computed, axis=-1, keepdims=True)
    known = np.isfinite(pair.normals).all(-1) & np.isfinite(depth)
    cosine = (computed[known] * pair.normals[known]).sum(-1)
    assert np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean() < 25
