"""Folders of published sets: known by their files, whole or refused by name, each with its pitfalls."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("OpenEXR", reason="OpenEXR is not installed: pip install OpenEXR")
pytest.importorskip("scipy", reason="scipy is not installed: pip install scipy")

from dkt_ros.evaluation import reading
from dkt_ros.evaluation.datasets import LAYOUTS, open_dataset
from dkt_ros.evaluation.layout import DatasetError, Selection
from dkt_ros.training.sequences import save_sequence, sequence_path

from .. import rendered
from ..datasets import trees
from ..datasets.trees import FOCAL, H, W
from ..training import tiny_sets
from ..training.test_transphy3d import published, write

TRUTH, NORMALS = trees.roof()


def names(path: Path, **selection: object) -> list[str]:
    return [source.name for source in open_dataset(path, Selection(**selection)).sources]


def only(path: Path, **selection: object):
    (source,) = open_dataset(path, Selection(**selection)).sources
    return source.load()


class TestClearPose:
    def test_a_scene_is_a_video_in_the_order_of_its_numbers(self, tmp_path: Path) -> None:
        scene = only(trees.clearpose(tmp_path))
        assert scene.name == "set2_scene1" and scene.counts == {"frames": 3}
        assert [frame.rgb[0, 0, 0] // 10 for frame in scene.frames] == [0, 3, 10]
        assert (np.diff(scene.stamps_ns) == reading.FRAME_NS).all()
        assert list(scene.stamps_ns) == [frame.stamp_ns for frame in scene.frames]

    @pytest.mark.parametrize("factor", [1000.0, 4000.0])
    def test_zero_is_unknown_and_the_factor_is_that_of_the_frame(self, tmp_path: Path, factor: float) -> None:
        scene = only(trees.clearpose(tmp_path, factor=factor))
        depth, sensor = scene.reference.depth, scene.reference.sensor_depth
        assert np.isnan(depth[:, 0]).all() and np.isnan(sensor[:, 1]).all()
        np.testing.assert_allclose(depth[0, 1:], TRUTH[1:], atol=0.6 / factor)
        np.testing.assert_allclose(sensor[0, 2:], TRUTH[2:] + 0.1, atol=0.6 / factor)
        np.testing.assert_array_equal(scene.frames[1].sensor_depth, sensor[1])

    def test_labels_from_200_on_are_not_transparent(self, tmp_path: Path) -> None:
        glass = only(trees.clearpose(tmp_path)).reference.transparent
        assert glass[0, 2, :6].tolist() == [True, True, True, False, False, False] and glass[0].sum() == 3
        objects = only(tmp_path).reference.instance
        assert (
            objects[1, 2, :6].tolist() == [5, 63, 199, 200, 212, 0] and only(tmp_path).reference.camera_to_world is None
        )

    @pytest.mark.parametrize("name", ["intrinsic_matrix", "camera_intrinsics"])
    def test_each_frame_has_its_camera_under_either_name(self, tmp_path: Path, name: str) -> None:
        cameras = [frame.intrinsics for frame in only(trees.clearpose(tmp_path, camera=name)).frames]
        assert [(c.fx, c.fy, c.cx, c.cy, c.width) for c in cameras[1:]] == [
            (FOCAL, FOCAL + 1, 34.5, 23.5, W),
            (FOCAL, FOCAL + 1, 41.5, 23.5, W),
        ]

    @pytest.mark.parametrize("signs", [(1, -1, -1), (1, 1, 1), (-1, 1, 1)])
    def test_the_axes_of_the_normals_are_found(self, tmp_path: Path, signs: tuple[float, float, float]) -> None:
        scene = only(trees.clearpose(tmp_path, signs=signs))
        normals = scene.reference.normals
        assert np.isnan(normals[:, 0]).all(), "black is no normal"
        np.testing.assert_allclose(normals[0, 1:], NORMALS[1:], atol=0.01)
        assert "axes" in scene.problem

    def test_normals_whose_axes_are_not_clear_are_left_out(self, tmp_path: Path) -> None:
        """The depth is of another scene than the normals."""
        v, u = np.mgrid[:H, :W]
        scene = only(trees.clearpose(tmp_path, depth=1 / (1.5 + 0.03 * (v - 24) + 0.0 * u)))
        assert scene.reference.normals is None and "axes are not clear" in scene.problem
        assert "there are none" in only(trees.clearpose(tmp_path / "without", signs=None)).problem

    @pytest.mark.parametrize("to_world", [True, False])
    def test_the_direction_of_the_poses_is_found(self, tmp_path: Path, to_world: bool) -> None:
        """The camera goes toward a wall and turns about its own axis."""
        poses = {}
        for number in (0, 1, 2, 3, 4):
            turn = cv2.Rodrigues(np.array([0, 0, 0.1 * number]))[0]
            pose = np.vstack([np.column_stack([turn, [0.01 * number, 0, 0.05 * number]]), [0, 0, 0, 1]])
            poses[number] = (pose if to_world else np.linalg.inv(pose))[:3]
        wall = np.stack([np.full((H, W), 0.9 - 0.05 * number) for number in poses])
        scene = only(trees.clearpose(tmp_path, frames=tuple(poses), signs=None, depth=wall, poses=poses))
        found = scene.reference.camera_to_world
        assert found is not None and f"poses lead to the {'world' if to_world else 'camera'}" in scene.problem
        np.testing.assert_allclose(found[:, 2, 3], [0, 0.05, 0.1, 0.15, 0.2], atol=1e-9)

    def test_poses_that_do_not_fit_the_depth_are_left_out(self, tmp_path: Path) -> None:
        poses = {n: np.column_stack([np.eye(3), [0, 0, 0.05 * n]]) for n in (0, 1, 2)}
        scene = only(trees.clearpose(tmp_path, frames=(0, 1, 2), signs=None, poses=poses))
        assert scene.reference.camera_to_world is None and "no TAE: their direction is not clear" in scene.problem
        assert "no TAE: there are none" in only(trees.clearpose(tmp_path / "without", signs=None)).problem

    def test_the_published_scenes_are_taken_unless_others_are_asked_for(self, tmp_path: Path) -> None:
        for scene in ("set1/scene1", "set1/scene5", "set2/scene1", "set8/scene4", "set9/scene12"):
            trees.clearpose(tmp_path, scene, frames=(0,), signs=None)
        found = open_dataset(tmp_path)
        assert [source.name for source in found.sources] == [
            "set1_scene5",
            "set2_scene1",
            "set8_scene4",
            "set9_scene12",
        ]
        assert found.selection["subset"] == "test" and (found.limits.near_m, found.limits.far_m) == (0.3, 1.5)
        assert "4 of the 27 scenes of the subset test are there; not there: set2/scene3" in found.in_words()
        assert names(tmp_path, subset="cover") == ["set8_scene4"]
        assert names(tmp_path, subset="train") == ["set1_scene1"]
        assert len(names(tmp_path, subset="all")) == 5
        assert names(tmp_path / "set2" / "scene1") == ["set2_scene1"], "the folder of one scene will do"
        with pytest.raises(
            DatasetError, match=r"set1/scene1 has nothing of the subset test.*subsets are test, occlusion"
        ):
            open_dataset(tmp_path / "set1" / "scene1")

    def test_scenes_under_other_names_need_a_word(self, tmp_path: Path) -> None:
        trees.clearpose(tmp_path, "kitchen", frames=(0,), signs=None)
        with pytest.raises(DatasetError, match=r"kitchen lies not in folders setN/sceneM.*give --subset all"):
            open_dataset(tmp_path)
        assert names(tmp_path, subset="all") == ["kitchen"]

    def test_every_and_first_choose_frames(self, tmp_path: Path) -> None:
        trees.clearpose(tmp_path, frames=range(0, 70, 10), signs=None)
        scene = only(tmp_path, every=2, first=3)
        assert [frame.rgb[0, 0, 0] for frame in scene.frames] == [0, 200, 400 % 256]

    def test_a_frame_that_cannot_be_used_is_left_out_and_counted(self, tmp_path: Path) -> None:
        folder = trees.clearpose(tmp_path, frames=(0, 1, 2, 3), signs=None) / "set2" / "scene1"
        cut = folder / "000001-depth_true.png"
        cut.write_bytes(cut.read_bytes()[:-20])
        trees.picture(folder / "000002-label.png", np.zeros((H, 2 * W), np.uint8))
        scene = only(tmp_path)
        assert len(scene.frames) == len(scene.reference.depth) == scene.counts["frames"] == 2
        assert [count for reason, count in scene.counts.items() if reason.startswith("left out: ")] == [1, 1]
        assert "000001-depth_true.png: cut short" in scene.problem and "000002-label.png: has shape" in scene.problem

    def test_many_damaged_frames_are_said_once(self, tmp_path: Path) -> None:
        folder = trees.clearpose(tmp_path, frames=range(40), signs=None) / "set2" / "scene1"
        for number in range(1, 40):
            (folder / f"{number:06d}-label.png").write_bytes(b"")
        scene = only(tmp_path)
        assert scene.counts["frames"] == 1 and 39 in scene.counts.values() and len(scene.counts) == 2
        assert "000001-label.png" in scene.problem and "(left out: 39)" in scene.problem and len(scene.problem) < 300

    def test_frames_of_another_size_are_left_out(self, tmp_path: Path) -> None:
        folder = trees.clearpose(tmp_path, frames=(0, 1), signs=None) / "set2" / "scene1"
        for file in folder.glob("000001-*.png"):
            trees.picture(file, trees.twice(cv2.imread(str(file), cv2.IMREAD_UNCHANGED)))
        assert "128x96 pixels, the frames before it 64x48 (left out: 1)" in only(tmp_path).problem

    def test_frames_that_the_metadata_lacks_are_counted(self, tmp_path: Path) -> None:
        trees.clearpose(tmp_path, frames=(0, 1), signs=None)
        known = (tmp_path / "set2/scene1/metadata.mat").read_bytes()
        trees.clearpose(tmp_path, frames=(0, 1, 2), signs=None)
        (tmp_path / "set2/scene1/metadata.mat").write_bytes(known)
        scene = only(tmp_path)
        assert scene.counts["frames"] == 2 and "000002-color.png: is not in metadata.mat, which has 2" in scene.problem

    @pytest.mark.parametrize("lost", ["000003-label.png", "000003-color.png", "000010-depth.png", "metadata.mat"])
    def test_the_first_missing_file_is_named(self, tmp_path: Path, lost: str) -> None:
        trees.clearpose(tmp_path, signs=None)
        (tmp_path / "set2/scene1" / lost).unlink()
        with pytest.raises(DatasetError, match=rf"ClearPose: \S*set2/scene1 lacks {lost}.*expected setN/sceneM"):
            open_dataset(tmp_path)

    def test_metadata_of_another_kind_is_refused(self, tmp_path: Path) -> None:
        trees.clearpose(tmp_path, camera="K", signs=None)
        with pytest.raises(DatasetError, match=r"metadata\.mat: frame 000000: intrinsic_matrix or camera_intrinsics"):
            only(tmp_path)
        (tmp_path / "set2/scene1/metadata.mat").write_bytes(b"not of MATLAB")
        with pytest.raises(DatasetError, match=r"metadata\.mat: damaged, or no MATLAB 5 file"):
            only(tmp_path)


class TestStd:
    def test_zero_and_nan_are_unknown_and_the_truth_decides_the_size(self, tmp_path: Path) -> None:
        scene = only(trees.std(tmp_path))
        assert scene.name == "test_0" and scene.frames[0].rgb.shape == (H, W, 3)
        depth, sensor = scene.reference.depth[0], scene.reference.sensor_depth[0]
        assert np.isnan(depth[0, :2]).all() and depth[0, 2] == 3.5, "the range is the score's affair"
        np.testing.assert_allclose(depth[1:], TRUTH[1:], rtol=1e-6)
        np.testing.assert_allclose(sensor[1:], TRUTH[1:] + 0.05, rtol=1e-3)  # half float
        assert scene.frames[0].intrinsics.fx == pytest.approx(918.295 * W / 1280, rel=1e-5)
        assert scene.frames[0].intrinsics.cx == (W - 1) / 2

    @pytest.mark.parametrize("meta", [trees.META, "7 1 2\n3 0 3\n9 0 1\n"], ids=["long", "short"])
    def test_materials_come_from_either_form_of_the_list(self, tmp_path: Path, meta: str) -> None:
        truth = only(trees.std(tmp_path, meta=meta)).reference
        glass, shiny = truth.transparent[0], truth.specular[0]
        assert glass[2, :4].tolist() == [True, False, False, False] and glass.sum() == 1
        assert shiny[2, :4].tolist() == [False, True, False, False] and shiny.sum() == 1

    def test_the_test_scenes_are_taken(self, tmp_path: Path) -> None:
        for scene in ("test_0", "test_1", "train_0"):
            trees.std(tmp_path, scene, frames=(0,))
        assert names(tmp_path) == ["test_0", "test_1"] and names(tmp_path, subset="train") == ["train_0"]
        assert names(trees.std(tmp_path / "STD-CatNovel", "real_data_novel/7", frames=(0,))) == ["real_data_novel_7"]
        assert "12 test scenes" in open_dataset(tmp_path / "STD-CatNovel").in_words()

    def test_truth_in_other_proportions_is_left_out(self, tmp_path: Path) -> None:
        trees.std(tmp_path, frames=(0, 1))
        trees.exr(tmp_path / "test_0/0000_depth_415.exr", np.ones((H, H)))
        scene = only(tmp_path)
        assert scene.counts["frames"] == 1 and "0000_depth_415.exr: is 48x48, not in the proportions" in scene.problem


class TestPictures:
    def test_dreds_stereo_may_be_negative_and_finer(self, tmp_path: Path) -> None:
        scene = only(trees.dreds(tmp_path))
        sensor = scene.frames[0].sensor_depth
        assert np.isnan(sensor[1, :3]).all() and np.isfinite(sensor[2:]).all() and sensor.shape == (H, W)
        np.testing.assert_allclose(sensor[2:], TRUTH[2:] + 0.05, rtol=1e-6)
        assert scene.reference.transparent[0, 2, :4].tolist() == [True, False, False, False]
        assert scene.frames[0].intrinsics.fx == pytest.approx(446.31 * W / 640)

    def test_dreds_parts_and_both_names_of_the_truth(self, tmp_path: Path) -> None:
        trees.dreds(tmp_path, frames=(1, 2, 10))
        trees.dreds(tmp_path, "train/00002")
        trees.dreds(tmp_path, "DREDS-CatNovel/00003", truth_end="_depth_0.exr")
        assert names(tmp_path) == ["DREDS-CatNovel_00003_0004", *(f"test_00001_{n}" for n in ("0001", "0002", "0010"))]
        assert names(tmp_path, subset="train") == ["train_00002_0004"]
        assert names(tmp_path, every=2, first=2) == ["DREDS-CatNovel_00003_0004", "test_00001_0002"]
        assert np.isfinite(only(tmp_path / "DREDS-CatNovel").reference.depth).all()

    def test_cleargrasp_pairs(self, tmp_path: Path) -> None:
        pair = only(trees.cleargrasp(tmp_path))
        depth = pair.reference.depth[0]
        assert np.isnan(depth[0, [0, -1]]).all() and np.isnan(depth).sum() == 2, "0 and NaN are unknown"
        np.testing.assert_allclose(depth[1:], TRUTH[1:], rtol=1e-3)
        assert np.isnan(pair.reference.normals[0, 0]).all()
        np.testing.assert_allclose(pair.reference.normals[0, 1:], NORMALS[1:], atol=2e-3)
        assert pair.frames[0].intrinsics.fx == FOCAL, "of a picture twice as wide"
        assert pair.reference.transparent.sum() == 6

    def test_cleargrasp_parts_and_cameras(self, tmp_path: Path) -> None:
        for number, folder in enumerate(("real-test/d435", "real-test/d415", "real-val/d435")):
            trees.cleargrasp(tmp_path, folder, (number,), camera=number > 0)
        found = open_dataset(tmp_path)
        assert len(found.sources) == 3 and "no camera_intrinsics.yaml in or above" in found.in_words()
        assert names(tmp_path, subset="test", camera="d435") == ["real-test_d435_000000000"]
        assert only(tmp_path, subset="test", camera="d435").frames[0].intrinsics is None
        assert names(tmp_path, subset="val") == ["real-val_d435_000000002"]
        with pytest.raises(DatasetError, match="ClearGrasp has no camera 'l515'; it has d415, d435"):
            open_dataset(tmp_path, Selection(camera="l515"))

    def test_cleargrasp_renders_have_no_sensor(self, tmp_path: Path) -> None:
        found = open_dataset(tiny_sets.cleargrasp(tmp_path))
        render = found.sources[0].load()
        assert found.name == "ClearGrasp (renders)" and render.reference.sensor_depth is None
        assert np.isnan(render.reference.depth[0, 0, :2]).all() and render.reference.transparent.sum() == 6
        (tmp_path / "square-plastic-bottle-train/variant-masks/000000012-variantMasks.exr").unlink()
        with pytest.raises(DatasetError, match=r"lacks 000000012-variantMasks\.exr"):
            open_dataset(tmp_path)

    @pytest.mark.parametrize("prefix", [True, False], ids=["1-camIntrinsics", "camIntrinsics"])
    def test_transcg_cameras_have_their_own_scale(self, tmp_path: Path, prefix: bool) -> None:
        trees.transcg(tmp_path, prefix=prefix)
        assert names(tmp_path) == [
            *("scene5_0_D435", "scene5_2_D435", "scene5_0_L515"),
            *("scene12_0_D435", "scene12_2_D435", "scene12_0_L515"),
        ]
        for camera, step, focal in (("d435", 1 / 1000, FOCAL), ("l515", 1 / 4000, 2 * FOCAL)):
            place = open_dataset(tmp_path, Selection(camera=camera)).sources[0].load()
            assert np.isnan(place.reference.depth[0, 0]).all() and place.frames[0].intrinsics.fx == focal
            np.testing.assert_allclose(place.reference.depth[0, 1:], TRUTH[1:], atol=0.51 * step)
            np.testing.assert_allclose(place.reference.sensor_depth[0, 1:], TRUTH[1:] + 0.1, atol=0.51 * step)
            assert place.reference.transparent[0, 2].all() and place.reference.transparent.sum() == W

    def test_transcg_takes_the_scenes_that_its_list_names(self, tmp_path: Path) -> None:
        trees.transcg(tmp_path, scenes=(5, 77), listed=(5, 12))
        found = open_dataset(tmp_path)
        assert {source.name.split("_")[0] for source in found.sources} == {"scene5"}
        assert "1 of the 2 scenes of the subset test are there; not there: scene12" in found.in_words()
        assert names(tmp_path / "scene5", camera="l515") == ["scene5_0_L515"]
        with pytest.raises(DatasetError, match="nothing of the subset train"):
            open_dataset(tmp_path, Selection(subset="train"))

    def test_transcg_says_what_is_missing_or_of_another_kind(self, tmp_path: Path) -> None:
        for lost in ("scene5/0/depth2-gt-mask.png", "scene5/metadata.json", "metadata.json"):
            trees.transcg(tmp_path)
            (tmp_path / lost).unlink()
            with pytest.raises(DatasetError, match=rf"TransCG: \S*{lost}: is missing; expected metadata\.json"):
                open_dataset(tmp_path)
        trees.transcg(tmp_path)
        (tmp_path / "metadata.json").write_text('{"test": "all"}')
        with pytest.raises(DatasetError, match=r"metadata\.json: has under 'test' no list of numbers; it has test"):
            open_dataset(tmp_path)
        trees.transcg(tmp_path)
        np.save(tmp_path / "camera_intrinsics/1-camIntrinsics-D435.npy", np.array([{}]), allow_pickle=True)
        with pytest.raises(DatasetError, match=r"1-camIntrinsics-D435\.npy"):
            open_dataset(tmp_path)


class TestSequences:
    def test_our_renders_and_the_published_set_are_told_apart_by_what_they_say(self, tmp_path: Path) -> None:
        ours, theirs = tmp_path / "TransPhy3D", tmp_path / "renders" / "test"
        ours.mkdir()
        theirs.mkdir(parents=True)
        save_sequence(sequence_path(ours, 7), rendered.sequence(1))
        write(theirs / "0826_0004.tar", published(2, "0826_0004"))
        assert open_dataset(ours).name == "rendered sequences"
        found = open_dataset(theirs.parent)
        assert found.name == "TransPhy3D" and "1 tars are there" in found.notes and "28 tars" in found.words
        assert len(found.sources[0].load().frames) == 2

    def test_sample_and_test_are_not_added_up(self, tmp_path: Path) -> None:
        for part in ("sample", "test"):
            (tmp_path / part).mkdir()
            write(tmp_path / part / "0826_0004.tar", published(1, "0826_0004"))
        with pytest.raises(DatasetError, match=r"0826_0004\.tar is in \S*sample and in \S*test.*give one"):
            open_dataset(tmp_path)
        with pytest.raises(DatasetError, match="no subset to choose here"):
            open_dataset(tmp_path / "test", Selection(subset="all"))


BUILDERS = {
    "ClearPose": trees.clearpose,
    "STD": trees.std,
    "DREDS": trees.dreds,
    "ClearGrasp": trees.cleargrasp,
    "ClearGrasp (renders)": tiny_sets.cleargrasp,
    "TransCG": trees.transcg,
    "KITTI": trees.kitti,
    "ScanNet": trees.scannet,
    "Bonn": trees.bonn,
    "Sintel": trees.sintel,
}


class TestRecognition:
    @pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
    def test_a_set_is_known_by_its_files_whatever_its_folder_is_called(self, tmp_path: Path, layout) -> None:
        other = next(name for name in BUILDERS if name != layout.name)
        found = open_dataset(BUILDERS[layout.name](tmp_path / other / "somewhere"))
        assert found.name == layout.name and found.numbers()["protocol"] == layout.words
        assert found.selection["subset"] == layout.subsets[0] and len(found.words) > 60
        with pytest.raises(DatasetError, match=rf"{layout.name.split()[0]}.* has no subset 'nope'; it has "):
            open_dataset(tmp_path / other, Selection(subset="nope"))

    def test_something_else_is_told_what_was_found_and_what_is_known(self, tmp_path: Path) -> None:
        tiny_sets.hiss(tmp_path / "ClearPose", scene="a")
        with pytest.raises(DatasetError) as caught:
            open_dataset(tmp_path / "ClearPose")
        said = str(caught.value)
        assert "none of the known sets; found a/0000_color.png, a/0000_depth.exr" in said
        assert "is this the right folder?" in said
        assert said.splitlines()[3:] == [f"  {layout.name}: {layout.expected}" for layout in LAYOUTS]
        (tmp_path / "empty").mkdir()
        with pytest.raises(DatasetError, match="found no file"):
            open_dataset(tmp_path / "empty")

    @pytest.mark.parametrize(
        ("build", "lost", "tree"),
        [
            (trees.std, "test_0/0009_gt_depth.exr", "<scene>/FFFF_{color.png, gt_depth.exr"),
            (trees.dreds, "test/00001/0004_mask.exr", "<scene>/FFFF_{color.png, depth_120.exr"),
            (trees.cleargrasp, "real-test/d435/000000080-normals.exr", "{d415,d435}/NNNNNNNNN-{transparent"),
        ],
        ids=["STD", "DREDS", "ClearGrasp"],
    )
    def test_a_missing_file_is_named_with_what_was_found_and_expected(
        self, tmp_path: Path, build, lost: str, tree: str
    ) -> None:
        (build(tmp_path) / lost).unlink()
        folder, _, name = lost.rpartition("/")
        with pytest.raises(DatasetError) as caught:
            open_dataset(tmp_path)
        stem = name[: 4 if folder != "real-test/d435" else 9]
        assert f"{folder} lacks {name}; found {stem}" in str(caught.value) and f"expected {tree}" in str(caught.value)

    def test_two_sets_in_one_folder_are_not_mixed(self, tmp_path: Path) -> None:
        trees.std(tmp_path / "STD-CatKnown", frames=(0,))
        trees.dreds(tmp_path / "DREDS-CatKnown")
        with pytest.raises(
            DatasetError, match=r"holds (STD|DREDS) and (STD|DREDS) \(\S*Known/test\S*\); give the folder"
        ):
            open_dataset(tmp_path)

    def test_impossible_choices_are_refused(self) -> None:
        with pytest.raises(DatasetError, match="every 0"):
            Selection(every=0)
        with pytest.raises(DatasetError, match="first -1"):
            Selection(first=-1)


class TestLongVideos:
    def test_what_is_large_lies_in_a_file_without_a_name(self, tmp_path: Path, monkeypatch) -> None:
        trees.clearpose(tmp_path, signs=None)
        usual = only(tmp_path)
        monkeypatch.setattr(reading, "IN_MEMORY", 1000)
        monkeypatch.setenv("TMPDIR", str(tmp_path))
        mapped = only(tmp_path)
        for name in ("depth", "transparent", "sensor_depth"):
            np.testing.assert_array_equal(getattr(mapped.reference, name), getattr(usual.reference, name))
            assert isinstance(getattr(mapped.reference, name).base, np.memmap)
        np.testing.assert_array_equal(mapped.frames[2].rgb, usual.frames[2].rgb)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["set2"]

    def test_a_full_disk_is_said_before_anything_is_written(self, tmp_path: Path, monkeypatch) -> None:
        def full(*_: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        trees.clearpose(tmp_path, signs=None)
        monkeypatch.setattr(reading, "IN_MEMORY", 1000)
        monkeypatch.setattr(os, "posix_fallocate", full)
        with pytest.raises(DatasetError, match=r"no room for .* GB .*No space left.*TMPDIR.*--every"):
            only(tmp_path)
