"""The truth as sensor depth with shapes cut out, scored inside these."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from dkt_ros.bag_topics import BagOrigin, Camera, CameraTopics
from dkt_ros.evaluation.baselines import RAW_SENSOR
from dkt_ros.evaluation.datasets import Dataset, Source
from dkt_ros.evaluation.evaluate import evaluate
from dkt_ros.evaluation.holes import with_holes
from dkt_ros.evaluation.means import OURS

from .test_evaluate import LIMITS, answers, recording


def cut_twice() -> tuple:
    scene = replace(recording(4), origin=BagOrigin(Path("bag"), Camera("", CameraTopics("/image"))))
    holed = with_holes(Dataset("x", [Source("scene", lambda: scene)], LIMITS, "words"))
    assert holed.words.startswith("words; the sensor depth is the truth with")
    return scene, holed.sources[0].load(), holed.sources[0].load()


def test_what_is_cut_out_is_unknown_and_everything_else_true() -> None:
    scene, holed, again = cut_twice()
    hidden = []
    for index, frame in enumerate(holed.frames):
        truth, sensor, inside = scene.reference.depth[index], frame.sensor_depth, holed.reference.transparent[index]
        np.testing.assert_array_equal(np.isnan(sensor), inside)
        np.testing.assert_array_equal(sensor[~inside], truth[~inside])
        np.testing.assert_array_equal(sensor, holed.reference.sensor_depth[index])
        np.testing.assert_array_equal(sensor, again.frames[index].sensor_depth)
        assert frame.stamp_ns == scene.frames[index].stamp_ns and 0.05 < inside.mean() < 0.99
        hidden.append(inside)
    assert holed.origin is None, "what is replayed to the node is what is scored"
    assert any((hidden[0] != other).any() for other in hidden[1:]), "every frame has its own"
    assert len(holed.frames[1:3]) == 2 and holed.frames[-1].stamp_ns == scene.frames[-1].stamp_ns


def test_the_score_is_of_the_hidden_part_alone() -> None:
    scene, holed, _ = cut_twice()
    estimates = []
    for index, estimate in enumerate(answers(scene)):
        factor = np.where(holed.reference.transparent[index], 1.2, 1.0).astype(np.float32)
        estimates.append(replace(estimate, depth=estimate.depth * factor))
    scores = evaluate(holed, estimates, LIMITS, groups=("raw",)).scores
    assert abs(scores[OURS]["C"]["transparent"]["rel"] - 0.2) < 1e-5 and scores[OURS]["C"]["opaque"]["rel"] == 0
    assert scores[RAW_SENSOR]["C"]["transparent"]["coverage"] == 0 and scores[RAW_SENSOR]["C"]["opaque"]["rel"] == 0
