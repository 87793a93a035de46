"""Whether the confidence is what it says."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dkt_ros.evaluation.evaluate import evaluate
from dkt_ros.evaluation.protocols import Range
from dkt_ros.evaluation.reliability import GROUPS, Reliability, astray, in_a_line
from dkt_ros.evaluation.report import Report
from dkt_ros.frames import PROVENANCE_INFERRED, PROVENANCE_MEASURED

from .test_evaluate import answers, recording


def counted(confidence, right, provenance=PROVENANCE_INFERRED, transparent=False) -> Reliability:
    """Pixels at 1 m, each right or 6 % off."""
    result = Reliability()
    confidence = np.asarray(confidence, np.float32)[None]
    depth = np.where(right, 1.04, 1.06).astype(np.float32)[None]
    everywhere = np.ones(depth.shape, bool)
    glass = np.broadcast_to(np.asarray(transparent), depth.shape)
    whence = np.full(depth.shape, provenance, np.uint8)
    result.add(confidence, depth, whence, np.ones_like(depth), everywhere, glass)
    return result


def test_a_confidence_that_is_what_it_says_has_no_calibration_error() -> None:
    random = np.random.default_rng(0)
    confidence = random.random(400_000)
    right = random.random(confidence.size) < confidence
    numbers = counted(confidence, right).numbers()["all"]
    assert numbers["ece"] < 0.005 and numbers["right"] == pytest.approx(0.5, abs=0.005)
    # Of a uniform probability: mean p (1 - p) = 1/6, and 5/6 of the pairs are in order.
    assert numbers["brier"] == pytest.approx(1 / 6, abs=0.003)
    assert numbers["auroc"] == pytest.approx(5 / 6, abs=0.003)
    assert len(numbers["bins"]) == 20 and sum(each["pixels"] for each in numbers["bins"]) == 400_000


def test_a_confidence_that_boasts_is_found_out() -> None:
    numbers = counted([0.9] * 10, [True] * 6 + [False] * 4).numbers()["all"]
    assert numbers["ece"] == pytest.approx(0.3, abs=1e-6)
    assert numbers["brier"] == pytest.approx(0.6 * 0.01 + 0.4 * 0.81, abs=1e-6)
    assert numbers["auroc"] == 0.5


def test_a_group_that_is_believed_too_much_or_too_little_gets_a_sentence() -> None:
    seen = counted([0.9] * 10, [True] * 5 + [False] * 5, PROVENANCE_MEASURED, transparent=True)
    guessed = counted([0.1] * 10, [True] * 5 + [False] * 5, transparent=True)
    both = Reliability.of([seen, guessed]).numbers(bins=False)
    said = astray(both)  # "glass" as a whole looks as if it were calibrated: two opposite errors
    assert [sentence.split('"')[1] for sentence in said] == ["measured", "inferred", "glass measured", "glass inferred"]
    assert "90.0% in the mean, but 50.0% are right. It promises too much there" in said[2]
    assert "10.0% in the mean, but 50.0% are right. It promises too little there" in said[3]
    assert "10 pixels" in said[2] and "AUROC 0.50 (0.5: chance)" in said[2]
    assert "glass measured ECE 40.0 %" in in_a_line(both)
    assert astray(counted([0.59] * 10, [True] * 5 + [False] * 5).numbers()) == [] == astray(Reliability().numbers())


def test_order_is_told_apart_from_calibration() -> None:
    assert counted([0.1, 0.2, 0.3, 0.4], [False, False, True, True]).numbers()["all"]["auroc"] == 1.0
    assert counted([0.4, 0.3, 0.2, 0.1], [False, False, True, True]).numbers()["all"]["auroc"] == 0.0
    assert counted([0.4, 0.5], [True, True]).numbers()["all"]["auroc"] is None


def test_groups_are_told_apart_and_parts_add_up() -> None:
    one = counted([0.9, 0.8], [True, True], PROVENANCE_MEASURED)
    other = counted([0.6, 0.7], [False, True], transparent=[[True, False]])
    both = Reliability.of([one, None, other]).numbers(bins=False)
    assert {group: both[group]["pixels"] for group in GROUPS} == {
        "all": 4,
        "measured": 2,
        "inferred": 2,
        "glass": 1,
        "glass measured": 0,
        "glass inferred": 1,
    }
    assert both["measured"]["right"] == 1.0 and both["glass inferred"]["right"] == 0.0
    assert both["glass measured"]["ece"] is None
    assert "glass ECE 60.0 %" in in_a_line(both) and in_a_line(Reliability().numbers()) == ""


def test_pixels_without_depth_or_truth_do_not_count() -> None:
    result = Reliability()
    depth = np.array([[1.0, np.nan, 1.0, 1.0]], np.float32)
    truth = np.array([[1.0, 1.0, np.nan, 1.0]], np.float32)
    valid = np.array([[True, True, False, False]])
    result.add(np.ones_like(depth), depth, np.ones(depth.shape, np.uint8), truth, valid, ~valid)
    assert result.numbers()["all"]["pixels"] == 1


def test_memory_does_not_grow_with_the_recording() -> None:
    part = counted([0.5], [True])
    before = part._counts.nbytes
    for _ in range(50):
        part = Reliability.of([part, counted([0.25], [False])])
    assert part._counts.nbytes == before and part.numbers()["all"]["pixels"] == 51


def test_the_report_has_it_in_numbers_and_in_a_line(tmp_path: Path) -> None:
    scene = recording()
    sure = evaluate(scene, answers(scene), Range())
    wrong = evaluate(scene, [replace(e, confidence=e.confidence * 0) for e in answers(scene)], Range())
    silent = evaluate(scene, answers(scene, metric=False), Range())
    report = Report([sure, wrong, silent], Range(), "nano", [], {})
    path = tmp_path / "scores.json"
    report.write_json(path)
    read = json.loads(path.read_text())
    assert read["confidence"]["all"]["ece"] == pytest.approx(0.5, abs=1e-6)
    assert "within 5%" in read["confidence"]["what"]
    assert [video["reliability"] and video["reliability"]["all"]["ece"] for video in read["videos"]] == [0, 1, None]
    assert "all ECE 50.0 %" in report.confidence_line()
    assert Report([silent], Range(), "nano", [], {}).confidence_line() == ""
