"""ClearGrasp's files: both kinds of invalid depth, normals in the optical frame, checked against depth."""

from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("OpenEXR", reason="OpenEXR is not installed: pip install OpenEXR")

from dkt_ros.evaluation.cleargrasp import find_pairs, load_pair, read_exr_depth, read_exr_normals

SAMPLES = Path(__file__).parents[2] / "../shared/samples/cleargrasp"
needs_samples = pytest.mark.skipif(not SAMPLES.exists(), reason="../shared/samples is not beside this checkout")


def write_exr(path: Path, pixels: np.ndarray) -> None:
    import OpenEXR

    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    with OpenEXR.File(header, {"RGB": np.ascontiguousarray(pixels.astype(np.float16))}) as file:
        file.write(str(path))


def test_zero_and_nan_are_both_invalid(tmp_path: Path) -> None:
    write_exr(tmp_path / "depth.exr", np.repeat(np.array([[0.5, 0.0], [np.nan, -1.0]])[..., None], 3, -1))
    depth = read_exr_depth(tmp_path / "depth.exr")
    assert depth.dtype == np.float32 and depth[0, 0] == 0.5
    assert np.isnan(depth).sum() == 3


def test_normals_are_turned_to_the_optical_frame(tmp_path: Path) -> None:
    write_exr(tmp_path / "normals.exr", np.array([[[0.0, 0.6, 0.8], [-1.0, -1.0, -1.0]]]))
    normals = read_exr_normals(tmp_path / "normals.exr")
    np.testing.assert_allclose(normals[0, 0], [0, -0.6, -0.8], atol=1e-3)
    assert np.isnan(normals[0, 1]).all()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "000000001-mask.png"), np.zeros((2, 2), np.uint8))
    assert find_pairs(tmp_path) == ["000000001"]
    with pytest.raises(FileNotFoundError, match="000000001-transparent-rgb-img"):
        load_pair(tmp_path, "000000001")


@needs_samples
def test_the_real_pairs() -> None:
    assert find_pairs(SAMPLES) == ["000000080", "000000123"]
    for name in find_pairs(SAMPLES):
        pair = load_pair(SAMPLES, name)
        (frame,) = pair.frames
        assert frame.size == (1280, 720) and frame.intrinsics.fx == 921
        for depth in (frame.sensor_depth, pair.reference.depth[0]):
            assert np.nanmin(depth) > 0.3 and np.nanmedian(depth) < 1.5 and not (depth <= 0).any()
        assert 0.005 < pair.reference.transparent.mean() < 0.3
        normals = pair.reference.normals[0]
        assert np.nanmedian(normals[..., 2]) < -0.2  # toward the camera


@needs_samples
def test_the_normals_fit_the_depth_beside_them() -> None:
    """The sign convention, checked: with any other sign the mean angle is above 60 degrees."""
    pair = load_pair(SAMPLES, find_pairs(SAMPLES)[0])
    camera, depth = pair.frames[0].intrinsics, pair.reference.depth[0]
    smooth = cv2.GaussianBlur(np.nan_to_num(depth, nan=float(np.nanmedian(depth))), (0, 0), 6)
    v, u = np.mgrid[: smooth.shape[0], : smooth.shape[1]]
    points = np.stack([(u - camera.cx) / camera.fx * smooth, (v - camera.cy) / camera.fy * smooth, smooth], -1)
    across = np.gradient(points, axis=1)
    down = np.gradient(points, axis=0)
    computed = np.cross(down, across)
    computed /= np.linalg.norm(computed, axis=-1, keepdims=True)
    known = np.isfinite(pair.reference.normals[0]).all(-1) & np.isfinite(depth)
    cosine = (computed[known] * pair.reference.normals[0][known]).sum(-1)
    assert np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean() < 25
