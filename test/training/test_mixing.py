"""Mixes: as often as published, of the sizes asked for, the same for the same generator."""

import dataclasses
import logging
from collections import Counter

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("OpenEXR", reason="OpenEXR is not installed: pip install OpenEXR")

from dkt_ros.training.clip import TrainingClip
from dkt_ros.training.mixing import LAYOUTS, Loader, MissingSetError, Mix, fitted, read_mix
from dkt_ros.training.sources.source import FrameFiles
from test.training import tiny_sets
from test.training.tiny_sets import H, W

#: DKT's way: one loader for all lengths; and DVD's: four loaders.
DKT = {
    "sets": {"pictures": {"format": "hiss", "folder": "HISS/train"}, "videos": {"format": "tartanair"}},
    "loaders": [
        {
            "name": "all",
            "frames": [1, 5, 9, 13, 17, 21],
            "batch": 2,
            "size": [12, 8],
            "sets": {"pictures": 1, "videos": 1},
        }
    ],
}
DVD = {
    "sets": {
        "hypersim": {"format": "hiss", "folder": "HISS/train"},
        "vkitti": {"format": "vkitti"},
        "ttr": {"format": "tartanair"},
    },
    "loaders": [
        {"name": "hypersim", "weight": 9, "frames": 1, "batch": 3, "size": [6, 8], "sets": {"hypersim": 1}},
        {"name": "vkitti images", "weight": 1, "batch": 3, "size": [4, 6], "fit": "bottom", "sets": {"vkitti": 1}},
        {"name": "ttr", "weight": 40, "frames": 5, "sets": {"ttr": 1}},
        {"name": "vkitti", "weight": 10, "frames": 5, "size": [4, 6], "sets": {"vkitti": 1}},
    ],
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    tiny_sets.hiss(root / "HISS/train", numbers=(0, 1, 2))
    tiny_sets.tartanair(root / "videos", frames=range(22))
    tiny_sets.tartanair(root / "ttr", frames=range(6))
    tiny_sets.vkitti(root / "vkitti", frames=range(6))
    return root


def test_dkt_lengths_come_alike_and_pictures_only_among_single_frames(root):
    mix = read_mix(DKT, root)
    lengths = Counter(mix.choose(np.random.default_rng([1, step]))[1] for step in range(1200))
    assert set(lengths) == {1, 5, 9, 13, 17, 21} and all(abs(count - 200) < 4 * 13 for count in lengths.values())
    single = Counter(mix.loaders[0].clip(np.random.default_rng([1, step]), 1).source for step in range(40))
    assert abs(single["pictures"] - 20) < 4 * 3.2 and single["pictures"] + single["videos"] == 40
    for step in range(16):
        clips = mix.batch(np.random.default_rng([1, step]))
        assert len(clips) == 2 and len({len(clip) for clip in clips}) == 1 and clips[0].size == (12, 8)
        assert len(clips[0]) == 1 or {clip.source for clip in clips} == {"videos"}


def test_dvd_loaders_come_by_weight_with_their_own_length_batch_and_size(root):
    mix, found = read_mix(DVD, root), Counter()
    kinds = {
        "hypersim": (3, 1, (6, 8)),
        "vkitti images": (3, 1, (4, 6)),
        "ttr": (1, 5, (H, W)),
        "vkitti": (1, 5, (4, 6)),
    }
    for step in range(600):
        loader, frames = mix.choose(np.random.default_rng([2, step]))
        found[loader.name] += 1
        assert (loader.batch, frames) == kinds[loader.name][:2]
    for name, weight in (("hypersim", 9), ("vkitti images", 1), ("ttr", 40), ("vkitti", 10)):
        assert abs(found[name] - 10 * weight) < 4 * np.sqrt(10 * weight) + 1
    for loader in mix.loaders:
        batch, frames, size = kinds[loader.name]
        clips = loader.clips(np.random.default_rng(0), frames)
        assert [(len(clip), clip.size) for clip in clips] == [(frames, size)] * batch


def test_a_batch_depends_on_its_generator_only_and_ranks_draw_other_clips(root):
    mix = read_mix(DKT, root)
    for step in range(5):
        batches = [mix.batch(np.random.default_rng([3, step])) for _ in range(2)]
        for one, again in zip(*batches, strict=True):
            np.testing.assert_array_equal(one.rgb, again.rgb)
            np.testing.assert_array_equal(one.depth, again.depth)
    drawn = [mix.batch(np.random.default_rng([3, step, rank]))[0].rgb.tobytes() for step in range(4) for rank in (0, 1)]
    assert len(set(drawn)) > 4


def test_flips_are_of_the_whole_clip_and_half_of_all(root):
    mix = read_mix(DKT, root)
    mirrored = 0
    for seed in range(50):
        clip = mix.loaders[0].clip(np.random.default_rng(seed), 5)
        rising = np.diff(clip.rgb[:, 3, :, 1].astype(int), axis=1)  # the tiny pictures grow greener to the right
        assert (rising >= 0).all() or (rising <= 0).all()
        mirrored += bool((rising <= 0).all())
    assert 11 < mirrored < 39
    never = dataclasses.replace(mix.loaders[0], flip=0.0)
    assert all(
        (np.diff(never.clip(np.random.default_rng(s), 5).rgb[0, 3, :, 1].astype(int)) >= 0).all() for s in range(9)
    )


def test_fits():
    v, u = np.mgrid[:8, :20]
    depth = (1 + v + 100 * u).astype(np.float32)[None]
    clip = TrainingClip(np.zeros((1, 8, 20, 3), np.uint8), depth, "numbers")
    assert fitted(clip, (4, 4), "squash", (0, 0)).depth[0].tolist() == depth[0, 1::2, 2::5].tolist()
    np.testing.assert_array_equal(fitted(clip, (6, 10), "bottom", (0, 0)).depth[0], depth[0, 2:8, 5:15])
    tall = fitted(clip, (16, 30), "bottom", (0, 0))
    assert tall.size == (16, 30) and tall.depth[0, -1, 0] == depth[0, -1, 2], "scaled by 2, then 5 px cut on each side"
    left, right = (fitted(clip, (4, 4), "cover", (0.5, where)).depth[0] for where in (0.0, 0.999))
    assert left.shape == right.shape == (4, 4) and left[0, 0] < 200 and right[0, -1] > 1800


def test_missing_sets_are_all_named_with_what_they_are_and_left_out_only_when_told(root, tmp_path, caplog):
    (tmp_path / "empty").mkdir()
    values = {
        "sets": {
            **DKT["sets"],
            "dreds": {"format": "dreds"},
            "ours": {"format": "transphy3d", "folder": str(tmp_path / "empty")},
        },
        "loaders": [
            {"name": "all", "sets": {"pictures": 1, "dreds": 2, "ours": 3}},
            {"name": "gone", "weight": 5, "sets": {"dreds": 1}},
        ],
    }
    with pytest.raises(MissingSetError) as refusal:
        read_mix(values, root)
    text = str(refusal.value)
    assert "2 of the recipe's 4 sets are not there" in text and "github.com/PKU-EPIC/DREDS" in text
    assert "set dreds: " in text and "no such folder" in text and "set ours: " in text and "holds no *.tar" in text
    with caplog.at_level(logging.WARNING):
        mix = read_mix({**values, "skip_missing": True}, root)
    assert [loader.name for loader in mix.loaders] == ["all"] and set(mix.sets) == {"pictures"}
    assert "dreds" in caplog.text and "loaders gone" in caplog.text
    assert mix.batch(np.random.default_rng(0))[0].source == "pictures"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"set": {}}, r"data: unknown \['set'\]"),
        ({"sets": {"a": {"format": "nyu"}}}, r"set a: format 'nyu'; choose one of transphy3d, hiss"),
        ({"sets": {"a": {"format": "hiss", "split": "train"}}}, r"set a: unknown \['split'\]"),
        ({"loaders": [{"name": "x", "sets": {"nobody": 1}}]}, "unknown sets nobody; known: pictures, videos"),
        ({"loaders": [{"name": "x", "sets": {"pictures": 1}, "frames": [1, 5]}]}, r"none of its sets \(pictures\)"),
        ({"loaders": [{"name": "x", "sets": {"videos": 1}, "fit": "stretch"}]}, r"fit 'stretch'; choose one of squash"),
        ({"loaders": [{"name": "x", "sets": {"videos": 1}, "batch": 0}]}, r"batch 0.*must be positive"),
        ({"loaders": []}, "a mix needs a loader"),
        ({"sets": 3}, "data: sets: 3 is no table"),
        ({"sets": {"a": "HISS"}}, "data: set a: 'HISS' is no table"),
        ({"loaders": {"name": "x"}}, "data: loaders: .* is no list"),
        ({"loaders": ["all"]}, "data: loaders: 'all' is no table"),
        ({"loaders": [{"sets": {"videos": 1}}]}, "data: loaders: .*videos.*: missing name"),
        ({"loaders": [{"name": "x", "sets": ["videos"]}]}, r"loader x: sets: \['videos'\] is no table"),
        ({"loaders": [{"name": "x", "sets": {"videos": "often"}}]}, "loader x: weight of videos 'often': expected a n"),
        ({"loaders": [{"name": "x", "sets": {"videos": 1}, "batch": "two"}]}, "loader x: batch 'two': expected a numb"),
        ({"loaders": [{"name": "x", "sets": {"videos": 1}, "frames": None}]}, "loader x: frames None: expected a numb"),
        ({"loaders": [{"name": "x", "sets": {"videos": 1}, "size": 480}]}, "loader x: size 480: expected 2 numbers"),
        ({"skip_missing": "yes please"}, "data: skip_missing 'yes please': expected true or false"),
    ],
)
def test_a_wrong_data_section_is_named(root, change, message):
    with pytest.raises(ValueError, match=message):
        read_mix({**DKT, **change}, root)


def test_damaged_files_are_told_by_the_mix(root, tmp_path):
    tiny_sets.tartanair(tmp_path / "videos", frames=range(3), sides=("left", "right"))
    bad = tmp_path / "videos/office/Easy/P001/depth_left/000001_left_depth.npy"
    bad.write_bytes(bad.read_bytes()[:100])
    source = FrameFiles("videos", LAYOUTS["tartanair"], tmp_path / "videos")
    mix = Mix((Loader("all", {"videos": (source, 1.0)}, frames=(3,)),))
    for seed in range(10):
        assert len(mix.batch(np.random.default_rng(seed))[0]) == 3
    assert [path.name for path in mix.skipped] == ["000001_left.png"]
    assert "000001_left_depth.npy" in next(iter(mix.skipped.values()))
    assert mix.summary() == "videos: 2 videos, 1 skipped"
    anew = Mix((Loader("all", {"videos": (FrameFiles("videos", LAYOUTS["tartanair"], tmp_path / "videos"), 1.0)}),))
    anew.follow(mix)
    assert anew.skipped == mix.skipped


def test_a_frame_of_another_size_is_damaged(tmp_path):
    tiny_sets.tartanair(tmp_path, frames=range(3), sides=("left", "right"))
    odd = tmp_path / "office/Easy/P001"
    rgb = odd / "image_left/000001_left.png"
    cv2.imwrite(str(rgb), cv2.imread(str(rgb))[1:])
    depth = odd / "depth_left/000001_left_depth.npy"
    np.save(depth, np.load(depth)[1:])
    source = FrameFiles("videos", LAYOUTS["tartanair"], tmp_path)
    for seed in range(6):
        assert len(source.draw(np.random.default_rng(seed), 3)) == 3
    assert [path.name for path in source.skipped] == ["000001_left.png"]
