"""Samples of the small engine: repeatable, in one unit, with a sensor believed as the path believes it."""

import dataclasses
import logging

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from dkt_ros.training.data import SequencePool, draw_batch, draw_sample, draw_trust  # noqa: E402
from dkt_ros.training.sequences import GLASS, LIQUID, SequenceError, save_sequence, sequence_path  # noqa: E402
from dkt_ros.trust import sensor_trust  # noqa: E402
from test.training.toy import toy_sequence  # noqa: E402


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    root = tmp_path_factory.mktemp("train")
    for seed in (1000, 1001):
        save_sequence(sequence_path(root, seed), toy_sequence(seed))
    return SequencePool(root)


def test_a_draw_is_repeatable_and_differs_from_the_next(pool):
    first, again, other = (draw_batch(pool, np.random.default_rng(seed), 5, 2) for seed in (1, 1, 2))
    assert torch.equal(first.condition.rgb, again.condition.rgb) and torch.equal(first.disparity, again.disparity)
    assert not torch.equal(first.condition.rgb, other.condition.rgb)


def test_filled_sensor_and_truth_are_in_the_same_units(pool):
    """Where the sensor is trusted and nothing transparent stands, the filled sensor is the truth up to its noise."""
    seen = 0
    for seed in range(20):
        sample = draw_sample(pool.sequences[0], np.random.default_rng(seed), 5, (32, 48))
        if sample.has_sensor:
            safe = (sample.trust > 0) & ~sample.rim & ~sample.transparent
            assert np.median(np.abs(sample.filled - sample.disparity)[safe]) < 0.05
            seen += 1
    assert seen > 10


def test_without_a_sensor_nothing_of_it_leaks_into_the_input(pool):
    blind = 0
    for seed in range(60):
        sample = draw_sample(pool.sequences[0], np.random.default_rng(seed), 1, (32, 48))
        if not sample.has_sensor:
            assert not sample.filled.any() and not sample.trust.any() and (sample.wrong == 1).all()
            assert sample.disparity.std() > 0.1
            blind += 1
    assert 1 <= blind <= 20


def test_a_mirrored_clip_mirrors_its_normals():
    sequence = toy_sequence(1)
    tilted = np.zeros_like(sequence.normals)
    tilted[..., 0], tilted[..., 2] = 0.6, -0.8
    sequence = dataclasses.replace(sequence, normals=tilted)
    signs = {
        float(np.sign(draw_sample(sequence, np.random.default_rng(s), 1, (32, 48)).normals[..., 0].mean()))
        for s in range(8)
    }
    assert signs == {1.0, -1.0}


def test_liquid_is_transparent():
    sequence = toy_sequence(2)
    sequence = dataclasses.replace(sequence, material=np.where(sequence.material == GLASS, LIQUID, 0).astype(np.uint8))
    sample = draw_sample(sequence, np.random.default_rng(0), 1, (32, 48))
    assert sample.transparent.any() and (sample.wrong[sample.transparent] == 1).all()


def test_the_sensor_is_mostly_believed_as_the_path_believes_it():
    """Where ``draw_trust`` hides nothing, it is ``sensor_trust`` in seven draws of ten, all of it in the others."""
    sensor = toy_sequence(4).depth
    believed = sensor_trust(sensor, None)
    assert (believed == 0).any()
    drawn = [draw_trust(sensor, np.zeros(sensor.shape, np.uint8), np.random.default_rng(seed)) for seed in range(100)]
    same = sum(np.array_equal(trust, believed) for trust in drawn)
    everything = sum(bool(trust.all()) for trust in drawn)
    assert 45 <= same <= 75 and 10 <= everything <= 40


def test_the_pool_finds_what_came_meanwhile_and_refuses_what_is_held_out(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no \*\.tar; render some"):
        SequencePool(tmp_path)
    save_sequence(sequence_path(tmp_path, 1000), toy_sequence(1000))
    pool = SequencePool(tmp_path)
    save_sequence(sequence_path(tmp_path, 1001), toy_sequence(1001))
    assert pool.refresh() == 2 and pool.refresh() == 2
    save_sequence(sequence_path(tmp_path, 9500), toy_sequence(9500))
    with pytest.raises(ValueError, match=r"009500\.tar: seed 9500 is held out"):
        pool.refresh()


def test_a_file_that_is_still_being_copied_is_skipped_told_once_and_taken_when_it_is_whole(tmp_path, caplog):
    save_sequence(sequence_path(tmp_path, 1000), toy_sequence(1000))
    pool = SequencePool(tmp_path)
    save_sequence(sequence_path(tmp_path, 1002), toy_sequence(1002))
    whole = sequence_path(tmp_path, 1002).read_bytes()
    copied = sequence_path(tmp_path, 1001)
    with caplog.at_level(logging.WARNING):
        for share in (3, 2):
            copied.write_bytes(whole[: len(whole) // share])
            assert pool.refresh() == 2 and list(pool.skipped) == ["001001.tar"]
    assert len(caplog.records) == 1 and "001001.tar: cut short" in caplog.text
    copied.write_bytes(whole)
    assert pool.refresh() == 3 and not pool.skipped


def test_a_folder_without_a_single_whole_file_is_an_error(tmp_path):
    sequence_path(tmp_path, 1000).write_bytes(b"no tar" * 200)
    with pytest.raises(SequenceError, match=r"none of the 1 \*\.tar can be read; the first: .*001000\.tar: "):
        SequencePool(tmp_path)


def test_long_clips_come_from_long_sequences(tmp_path):
    for seed, frames in ((1000, 1), (1001, 5), (1002, 3)):
        save_sequence(sequence_path(tmp_path, seed), toy_sequence(seed, frames=frames))
    pool = SequencePool(tmp_path)
    assert draw_batch(pool, np.random.default_rng(0), 5, 6).disparity.shape[:2] == (6, 5)
    assert [len(sequence) for sequence in pool.long_enough(3)] == [5, 3]
    with pytest.raises(ValueError, match=r"clips of 9 frames asked for, its sequences have 1, 3, 5; .*--frames"):
        draw_batch(pool, np.random.default_rng(0), 9, 1)
