"""The sets of the papers on video depth, as DVD's loaders take them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from dkt_ros.evaluation.datasets import open_dataset
from dkt_ros.evaluation.evaluate import Recording
from dkt_ros.evaluation.layout import DatasetError, Selection

from . import trees
from .trees import FOCAL, H, W

TRUTH, _ = trees.roof()


def only(path: Path, **selection):
    (source,) = open_dataset(path, Selection(**selection)).sources
    return source.load()


def numbers(recording: Recording) -> list[int]:
    """Of the frames, by their colours."""
    return [round(float(np.median(frame.rgb[..., 0])) / 10) for frame in recording.frames]


class TestKitti:
    def test_only_frames_with_truth_are_taken_cut_at_the_bottom_and_scored_in_the_box(self, tmp_path: Path) -> None:
        drive = only(trees.kitti(tmp_path))
        assert drive.name == "2011_09_26_drive_0002_sync" and numbers(drive) == [5, 6]
        depth = drive.reference.depth[0]
        assert depth.shape == drive.frames[0].rgb.shape[:2] == (352, 1216)
        assert drive.frames[0].rgb[0, 0].tolist() == [50, 3 * 13, 3 * 23], "13 columns and 23 rows are cut off"
        scored = np.isfinite(depth)
        rows, columns = np.flatnonzero(scored.any(1)), np.flatnonzero(scored.any(0))
        assert (rows[0], rows[-1]) == (117, 320) and 43 <= columns[0] <= 44 and 1170 <= columns[-1] <= 1171
        assert (depth[scored] == 10).all() and not scored[300 - 23].any(), "0 is unknown, 256 is a metre"

    def test_val_is_taken_and_colours_must_be_there(self, tmp_path: Path) -> None:
        trees.kitti(tmp_path)
        trees.kitti(tmp_path, "2011_09_26_drive_0001_sync", "train")
        assert len(open_dataset(tmp_path, Selection("all")).sources) == 2
        only(tmp_path)
        only(tmp_path, subset="train")
        with pytest.raises(DatasetError, match=r"KITTI: 2011\S*0002_sync/image_02/data is missing; expected <drive>"):
            open_dataset(tmp_path / "depth")


class TestScannet:
    @pytest.mark.parametrize("end", [".npz", ".png"])
    def test_millimetres_in_either_kind_of_file_in_the_order_of_numbers(self, tmp_path: Path, end: str) -> None:
        scene = only(trees.scannet(tmp_path, end=end))
        assert scene.name == "scene0707_00" and numbers(scene) == [0, 9, 10]
        assert scene.frames[0].rgb.shape == (H, W, 3) and np.isnan(scene.reference.depth[:, 0]).all()
        np.testing.assert_allclose(scene.reference.depth[1, 1:], TRUTH[1:], atol=6e-4)
        camera, poses = scene.frames[0].intrinsics, scene.reference.camera_to_world
        assert camera is not None and (camera.fx, camera.cx) == (FOCAL, 20)
        assert poses is not None and poses[2, 0, 3] == 10 and not np.isfinite(poses[1]).any()

    def test_cameras_may_be_absent_truth_may_not(self, tmp_path: Path) -> None:
        scene = only(trees.scannet(tmp_path, poses=False))
        assert scene.frames[0].intrinsics is None and scene.reference.camera_to_world is None
        (tmp_path / "scene0707_00/depth/9.npz").unlink()
        with pytest.raises(DatasetError, match=r"ScanNet: \S*depth/9\.png or \.npz is missing; expected <scene>"):
            open_dataset(tmp_path)

    def test_damaged_and_foreign_arrays_are_counted(self, tmp_path: Path) -> None:
        folder = trees.scannet(tmp_path) / "scene0707_00/depth"
        folder.joinpath("0.npz").write_bytes(folder.joinpath("0.npz").read_bytes()[:-30])
        np.savez(folder / "9.npz", np.array([{}], object), allow_pickle=True)
        scene = only(tmp_path)
        assert scene.counts["frames"] == 1 and "0.npz" in scene.problem and "9.npz" in scene.problem


class TestBonn:
    def test_pairs_are_within_20_ms_and_5000_is_a_metre(self, tmp_path: Path) -> None:
        recording = only(trees.bonn(tmp_path))
        assert numbers(recording) == [0, 2, 3] and np.isnan(recording.reference.depth[:, 0]).all()
        np.testing.assert_allclose(recording.reference.depth[0, 1:], TRUTH[1:], atol=2e-4)

    def test_without_truth_it_is_said(self, tmp_path: Path) -> None:
        for file in (trees.bonn(tmp_path) / "rgbd_bonn_balloon/depth").iterdir():
            file.unlink()
        with pytest.raises(DatasetError, match=r"Bonn: \S*depth is missing; expected <recording>"):
            open_dataset(tmp_path)


class TestSintel:
    def test_the_final_pass_is_squeezed_to_640x480(self, tmp_path: Path) -> None:
        film = only(trees.sintel(tmp_path))
        assert numbers(film) == [1, 2] and film.frames[0].rgb.shape == (480, 640, 3)
        np.testing.assert_array_equal(film.reference.depth[1, 0, [0, 1, 639]], [1, 3, 1024])
        assert film.frames[0].intrinsics is None and only(tmp_path, subset="clean").name == "alley_1"

    def test_a_cut_or_missing_truth_is_named(self, tmp_path: Path) -> None:
        folder = trees.sintel(tmp_path) / "training/depth/alley_1"
        folder.joinpath("frame_0002.dpt").write_bytes(folder.joinpath("frame_0002.dpt").read_bytes()[:-4])
        film = only(tmp_path)
        assert film.counts["frames"] == 1 and "no whole .dpt of Sintel" in film.problem
        folder.joinpath("frame_0002.dpt").unlink()
        with pytest.raises(DatasetError, match=r"Sintel: \S*alley_1/frame_0002\.dpt is missing"):
            open_dataset(tmp_path)


def test_another_size_of_truth_is_left_out(tmp_path: Path) -> None:
    folder = trees.bonn(tmp_path) / "rgbd_bonn_balloon/depth"
    first = min(folder.iterdir())
    cv2.imwrite(str(first), np.ones((H, 2 * W), np.uint16))
    recording = only(tmp_path)
    assert recording.counts["frames"] == 2 and f"{first.name}: has shape" in recording.problem
