"""Training sets: what their files say in metres, and what happens to files that are wrong."""

import logging

import numpy as np
import pytest

pytest.importorskip("torch")
exr = pytest.importorskip("OpenEXR", reason="OpenEXR is not installed: pip install OpenEXR")
pytest.importorskip("h5py", reason="h5py is not installed: pip install h5py")

from dkt_ros.training.clip import TrainingClip, joined  # noqa: E402
from dkt_ros.training.mixing import LAYOUTS  # noqa: E402
from dkt_ros.training.sequences import (  # noqa: E402
    SequenceError,
    load_sequence,
    save_sequence,
    sequence_path,
    stored_seed,
)
from dkt_ros.training.sources import tars  # noqa: E402
from dkt_ros.training.sources.source import TRIES, FrameFiles, SourceError, runs  # noqa: E402
from dkt_ros.training.sources.tars import TarFiles  # noqa: E402
from test.training import tiny_sets  # noqa: E402
from test.training.tiny_sets import H, W, colours, slope  # noqa: E402
from test.training.toy import toy_sequence  # noqa: E402


def source(name, root):
    return FrameFiles(name, LAYOUTS[name], root)


def draws(found, frames=1, times=20):
    return [found.draw(np.random.default_rng(seed), frames) for seed in range(times)]


def number(clip, frame=0):
    """Which of ``tiny_sets.colours`` a frame is."""
    return round(float(clip.rgb[frame, ..., 0].mean()) / 10)


def test_hiss_is_metres_within_its_limits_beside_the_simulated_stereo(tmp_path):
    clip = draws(source("hiss", tiny_sets.hiss(tmp_path)), times=1)[0]
    which = number(clip)
    np.testing.assert_array_equal(clip.rgb[0], colours(which))
    np.testing.assert_allclose(clip.depth[0, 1:], slope(which)[1:])
    np.testing.assert_array_equal(clip.depth[0, 0, :3], np.float32([np.nan, np.nan, 5.0]))  # known in 0.2..5 m
    np.testing.assert_allclose(clip.stereo_depth[0, 1:], slope(which)[1:] + 0.5)
    assert np.isnan(clip.stereo_depth[0, 0, 3]) and clip.transparent is None and clip.normals is None
    camera = clip.intrinsics
    assert (camera.fx, camera.cx, camera.cy) == (pytest.approx(446.31 * W / 640), (W - 1) / 2, (H - 1) / 2)


def test_hiss_leaves_out_what_its_list_and_d3roma_leave_out(tmp_path):
    tiny_sets.hiss(tmp_path, numbers=(0, 1, 2))
    tiny_sets.hiss(tmp_path, scene="102344049/glass_cabinet")
    (tmp_path / "bad_his.txt").write_text("datasets/HISS/train/102344049/kitchentable/0001_depth.exr 7.5\n")
    found = source("hiss", tmp_path)
    assert len(found) == 2 and {number(clip) for clip in draws(found)} == {0, 2} and not found.skipped


def test_dreds_knows_objects_and_their_materials(tmp_path):
    clip = draws(source("dreds", tiny_sets.dreds(tmp_path)), times=1)[0]
    np.testing.assert_allclose(clip.depth[0], slope(4))
    assert np.isnan(clip.stereo_depth[0, 1, 1:3]).all() and np.isfinite(clip.stereo_depth[0]).sum() == H * W - 2
    instance = np.zeros((H, W), int)
    instance[2, 2:4], instance[3, 5] = 1, 2
    np.testing.assert_array_equal(clip.instance[0], instance)
    np.testing.assert_array_equal(clip.transparent[0], instance == 1)
    np.testing.assert_array_equal(clip.specular[0], instance == 2)


def test_dreds_short_lines_and_nonsense(tmp_path):
    short = draws(source("dreds", tiny_sets.dreds(tmp_path / "short", meta="7 1 2\n3 0 3\n")), times=1)[0]
    assert short.transparent.sum() == 2 and short.specular.sum() == 1
    wrong = source("dreds", tiny_sets.dreds(tmp_path / "wrong", meta="7 1 glass\n"))
    with pytest.raises(SourceError, match=r"0004_meta\.txt line 1 is '7 1 glass'"):
        draws(wrong, times=1)


def test_cleargrasp_normals_come_into_the_optical_frame(tmp_path):
    clip = draws(source("cleargrasp", tiny_sets.cleargrasp(tmp_path)), times=1)[0]
    np.testing.assert_allclose(clip.depth[0, 1:], slope(0)[1:], atol=1e-3)
    assert np.isnan(clip.depth[0, 0, :2]).all() and np.isnan(clip.normals[0, 0, :2]).all()
    np.testing.assert_allclose(clip.normals[0, 3, 3], (0, -0.6, -0.8), atol=1e-3)  # y down, z forward
    assert clip.transparent.sum() == 6 and set(np.unique(clip.instance)) == {0, 104}
    np.testing.assert_array_equal(clip.instance > 0, clip.transparent)
    assert clip.intrinsics.fx == pytest.approx(1386.416 * W / 1920, rel=1e-5)


def test_hypersim_distances_become_depth_and_only_the_training_part_is_drawn(tmp_path):
    found = source("hypersim", tiny_sets.hypersim(tmp_path))
    assert len(found) == 1
    clip = draws(found, times=1)[0]
    focal = 886.81 * W / 1024
    v, u = np.mgrid[:H, :W]
    length = np.sqrt(((u - (W - 1) / 2) / focal) ** 2 + ((v - (H - 1) / 2) / focal) ** 2 + 1)
    np.testing.assert_allclose(clip.depth[0], 2.0 / length, rtol=1e-5)
    facing = (
        clip.normals[0] * np.stack([(u - (W - 1) / 2) / focal, (v - (H - 1) / 2) / focal, np.ones((H, W))], -1)
    ).sum(-1)
    assert (facing < 0).all() and clip.normals[0, 0, 0].tolist() == [0, 0, -1]
    whole = source("hypersim", tiny_sets.hypersim(tmp_path / "prepared", table=False))
    assert len(whole) == 2


def test_hypersim_without_some_depth_is_left_out_and_links_are_not_followed(tmp_path):
    import h5py

    found = source("hypersim", tiny_sets.hypersim(tmp_path, frames=(0, 1, 2), table=False))
    geometry = tmp_path / "ai_001_001/images/scene_cam_00_geometry_hdf5"
    with h5py.File(geometry / "frame.0000.depth_meters.hdf5", "r+") as file:
        file["dataset"][2, 2] = np.nan
    with h5py.File(geometry / "frame.0001.depth_meters.hdf5", "w") as file:
        file["dataset"] = h5py.ExternalLink(str(geometry / "frame.0002.depth_meters.hdf5"), "dataset")
    assert {number(clip) for clip in draws(found)} == {2}
    reasons = {file.name: reason for file, reason in found.skipped.items()}
    assert "pixels without depth" in reasons["frame.0000.tonemap.jpg"]
    assert "no dataset 'dataset' of its own" in reasons["frame.0001.tonemap.jpg"]


def test_vkitti_is_centimetres_and_its_sky_decides_no_range(tmp_path):
    tiny_sets.vkitti(tmp_path)
    tiny_sets.vkitti(tmp_path, scene="Scene01")
    found = source("vkitti", tmp_path)
    assert len(found) == 2, "two cameras; scene 01 is kept for validation"
    clip = found.draw(np.random.default_rng(0), 3)
    assert [number(clip, t) for t in range(3)] == [0, 1, 2]
    assert (clip.depth[:, 2:] == np.float32(12.34)).all() and clip.depth[0, 0, 0] == np.float32(655.35)
    assert np.isnan(clip.depth[0, 1, 1])
    np.testing.assert_array_equal(clip.measured, clip.depth < 80)
    assert clip.intrinsics.fx == pytest.approx(725.0087 * W / 1242)


def test_tartanair_is_cut_off_at_50_m_and_a_missing_frame_parts_its_video(tmp_path):
    tiny_sets.tartanair(tmp_path, frames=(0, 1, 2, 5, 6, 7, 8), sides=("left",))
    tiny_sets.tartanair(tmp_path, frames=range(3), sides=("right",))
    found = source("tartanair", tmp_path)
    assert len(found) == 3
    starts = {number(clip) for clip in draws(found, frames=4)}
    assert starts == {5}
    clip = found.draw(np.random.default_rng(0), 3)
    assert (clip.depth[:, 0] == 50).all() and clip.measured is None and clip.intrinsics.fx == 320 * W / 640
    with pytest.raises(SourceError, match="asked for 5 frames; its longest video has 4"):
        found.draw(np.random.default_rng(0), 5)


def test_our_own_and_published_tars(tmp_path):
    sequence = toy_sequence(1000)
    save_sequence(sequence_path(tmp_path, 1000), sequence)
    stored = load_sequence(sequence_path(tmp_path, 1000))
    found = TarFiles("ours", tmp_path)
    clip = found.draw(np.random.default_rng(0), 5)
    for name in ("rgb", "depth", "sensor_depth", "background_depth", "instance", "transparent", "specular"):
        np.testing.assert_array_equal(getattr(clip, name), getattr(stored, name), err_msg=name)
    starts = {tuple(part.depth[0, 0]) for part in draws(found, frames=3, times=12)}
    assert len(starts) <= 3 and all(len(part) == 3 for part in draws(found, frames=3, times=3))
    with pytest.raises(SourceError, match=r"set ours: asked for 9 frames; its longest video has 5"):
        found.draw(np.random.default_rng(0), 9)
    assert not found.skipped and len(found.draw(np.random.default_rng(0), 5)) == 5, "short is not damaged"


def test_long_clips_come_from_long_tars_and_what_is_drawn_does_not_depend_on_what_was_skipped(tmp_path):
    for seed, frames in ((1000, 5), (1001, 5), (1002, 9)):
        save_sequence(sequence_path(tmp_path, seed), toy_sequence(seed, frames=frames))
    cut = sequence_path(tmp_path, 1003)
    whole = sequence_path(tmp_path, 1000).read_bytes()
    cut.write_bytes(whole[: len(whole) // 2])
    fresh = [TarFiles("ours", tmp_path).draw(np.random.default_rng(seed), 3).rgb.tobytes() for seed in range(12)]
    found = TarFiles("ours", tmp_path)
    found.check(9)
    with pytest.raises(SourceError, match=r"asked for 13 frames; its longest video has 9; .*--frames"):
        found.check(13)
    assert not found.skipped, "a check names no files; drawing does"
    long = load_sequence(sequence_path(tmp_path, 1002))
    for clip in draws(found, frames=9, times=6):
        np.testing.assert_array_equal(clip.rgb, long.rgb)
    assert [clip.rgb.tobytes() for clip in draws(found, frames=3, times=12)] == fresh
    assert list(found.skipped) == [cut] and len(set(fresh)) > 3


def test_a_held_out_render_stops_the_training(tmp_path):
    save_sequence(sequence_path(tmp_path, 9500), toy_sequence(9500))
    with pytest.raises(SourceError, match=r"009500\.tar: seed 9500 is held out"):
        TarFiles("ours", tmp_path).draw(np.random.default_rng(0), 1)
    sequence_path(tmp_path, 9500).rename(tmp_path / "zebra.tar")
    save_sequence(sequence_path(tmp_path, 1000), toy_sequence(1000))
    sequence_path(tmp_path, 1001).write_bytes(b"no tar" * 200)
    with pytest.raises(SourceError, match=r"zebra\.tar: seed 9500 is held out"):
        TarFiles("ours", tmp_path).check(1)  # though the first file is good enough, and the second damaged


def test_a_set_read_anew_opens_new_tars_only(tmp_path, monkeypatch):
    opened = []

    def seen(path):
        opened.append(path.name)
        return stored_seed(path)

    monkeypatch.setattr(tars, "stored_seed", seen)
    save_sequence(sequence_path(tmp_path, 1000), toy_sequence(1000))
    before = TarFiles("ours", tmp_path)
    before.check(1)
    save_sequence(sequence_path(tmp_path, 1001), toy_sequence(1001))
    anew = TarFiles("ours", tmp_path)
    anew.follow(before)
    anew.check(1)
    assert opened == ["001000.tar", "001001.tar"]


def test_the_seed_is_found_without_reading_the_pictures(tmp_path):
    path = sequence_path(tmp_path, 1000)
    save_sequence(path, toy_sequence(1000))
    assert stored_seed(path) == 1000
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 3])
    assert stored_seed(path) == 1000
    path.write_bytes(whole[:1000])
    with pytest.raises(SequenceError, match=r"001000\.tar: "):
        stored_seed(path)


BREAKS = {
    "hiss": ("*_color.png", "*_depth.exr", "*_simDepthImage.exr"),
    "dreds": ("*_color.png", "*_depth_120.exr", "*_mask.exr"),
    "cleargrasp": ("*-rgb.jpg", "*-cameraNormals.exr", "*-segmentation-mask.png", "*-variantMasks.exr"),
    "hypersim": ("*.tonemap.jpg", "*.depth_meters.hdf5", "*.normal_cam.hdf5"),
    "vkitti": ("rgb_00001.jpg", "depth_00001.png"),
    "tartanair": ("000001_left.png", "000001_left_depth.npy"),
}


@pytest.mark.parametrize(("name", "pattern"), [(name, pattern) for name, all_ in BREAKS.items() for pattern in all_])
def test_a_file_cut_short_is_named_counted_and_left_out(tmp_path, caplog, name, pattern):
    """The picture that it belongs to is never drawn again; the others still are."""
    builder = getattr(tiny_sets, name)
    builder(tmp_path / "good")
    builder(tmp_path / "bad")
    for file in (tmp_path / "bad").rglob(pattern):
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    found = source(name, tmp_path)
    with caplog.at_level(logging.WARNING):
        clips = draws(found, times=60)
    assert len(clips) == 60 and all(np.isfinite(clip.depth).any() for clip in clips)
    assert found.skipped and all("bad" in file.parts for file in found.skipped)
    assert len(caplog.records) == len(found.skipped), "each is said once"


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_missing_companion_is_named(tmp_path, name):
    getattr(tiny_sets, name)(tmp_path)
    for file in [*tmp_path.rglob("*depth*.*")]:
        if file.is_file() and name != "hiss":
            file.unlink()
    for file in tmp_path.rglob("*_simDepthImage.exr"):
        file.unlink()
    with pytest.raises(SourceError, match=rf"{TRIES} draws in a row.*(depth|simDepth)\S* is missing"):
        source(name, tmp_path).draw(np.random.default_rng(0), 1)


def test_a_pickle_is_not_loaded_and_an_empty_folder_says_what_is_wanted(tmp_path):
    tiny_sets.tartanair(tmp_path, sides=("left",), frames=(0,))
    np.save(tmp_path / "office/Easy/P001/depth_left/000000_left_depth.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(SourceError, match=r"000000_left_depth\.npy"):
        source("tartanair", tmp_path).draw(np.random.default_rng(0), 1)
    for name, layout in LAYOUTS.items():
        (tmp_path / name).mkdir()
        with pytest.raises(SourceError, match=f"set {name}: .* holds nothing of it"):
            source(name, tmp_path / name)
        assert len(layout.described) > 80


def test_mirroring_cutting_and_resizing_keep_the_geometry():
    """A slanted wall seen again from the changed camera lies where it lay."""
    sequence = toy_sequence(3)
    u = np.arange(48, dtype=np.float32)
    depth = np.broadcast_to(1 / (0.5 + 0.005 * u), sequence.depth.shape).astype(np.float32)
    normals = np.zeros((*depth.shape, 3), np.float32)
    normals[..., 0], normals[..., 2] = 0.6, -0.8
    clip = TrainingClip(sequence.rgb, depth, "toy", normals=normals, intrinsics=sequence.intrinsics)

    def plane(of):
        camera, v_u = of.intrinsics, np.mgrid[: of.size[0], : of.size[1]]
        z = of.depth[0].astype(np.float64)
        points = np.stack([(v_u[1] - camera.cx) / camera.fx * z, (v_u[0] - camera.cy) / camera.fy * z, z], -1)
        return np.linalg.lstsq(points.reshape(-1, 3), np.ones(z.size), rcond=None)[0]

    truth = plane(clip)
    np.testing.assert_allclose(plane(clip.mirrored()), truth * (-1, 1, 1), atol=1e-6)
    np.testing.assert_allclose(plane(clip.cut(4, 10, 16, 20)), truth, atol=1e-6)
    np.testing.assert_allclose(plane(clip.resized(64, 24)), truth, atol=0.01)
    assert clip.mirrored().normals[0, 0, 0].tolist() == pytest.approx([-0.6, 0, -0.8])
    np.testing.assert_array_equal(clip.mirrored().mirrored().rgb, clip.rgb)
    assert clip.normals[0, 0, 0, 0] == np.float32(0.6), "the clip itself is as it was"


def test_resized_colours_average_and_depth_does_not():
    rgb = np.zeros((1, 4, 4, 3), np.uint8)
    rgb[:, :, ::2] = 200
    depth = np.where(np.arange(4) % 2, 1.0, 3.0).astype(np.float32)[None, None].repeat(4, 1)
    small = TrainingClip(rgb, depth, "stripes").resized(2, 2)
    assert set(np.unique(small.depth)) <= {1.0, 3.0} and 60 < small.rgb.min() <= small.rgb.max() < 140


def test_what_not_all_frames_have_is_left_out_of_a_joined_clip():
    whole = TrainingClip(
        np.zeros((1, 2, 2, 3), np.uint8), np.ones((1, 2, 2), np.float32), "a", transparent=np.ones((1, 2, 2), bool)
    )
    bare = TrainingClip(whole.rgb, whole.depth, "a")
    assert joined([whole, bare]).transparent is None and len(joined([whole, bare])) == 2
    with pytest.raises(ValueError, match=r"a: transparent \(1, 2, 2\) beside depth \(1, 3, 3\)"):
        TrainingClip(
            np.zeros((1, 3, 3, 3), np.uint8), np.ones((1, 3, 3), np.float32), "a", transparent=whole.transparent
        )


def test_runs_sort_by_number_and_cut_at_gaps(tmp_path):
    names = ["rgb_00010.jpg", "rgb_00009.jpg", "rgb_00002.jpg", "cover.jpg"]
    shots = runs([tmp_path / name for name in names])
    assert [[file.name for file in shot] for shot in shots] == [["rgb_00002.jpg"], ["rgb_00009.jpg", "rgb_00010.jpg"]]
