"""Every measure on inputs that cannot be scored: a flag instead of a number, no NaN anywhere, nothing in a mean."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dkt_ros.evaluation.chamfer import unavailable
from dkt_ros.evaluation.evaluate import Recording, VideoScores, evaluate
from dkt_ros.evaluation.means import NETWORK, OURS, mean_scores
from dkt_ros.frames import Estimate

from .test_evaluate import LIMITS, answers, recording

#: A pixel of the glass, on which nothing else depends.
ROW, COLUMN = 20, 40
#: What is scored, under the names of the JSON.
MEASURES = {
    *("A all", "B transparent", "C all", "C transparent", "normals all", "normals transparent"),
    *("temporal A", "temporal C", "boundaries depth_pro", "clouds objects", "provenance inferred", "published all"),
}
#: Those that need a fit to the truth.
FITTED = {"A all", "B transparent", "temporal A", "published all"}
#: scipy may be absent, and then this is flagged whatever the input.
ABSENT = {"clouds objects"} if unavailable() else set()


def with_truth(change: Callable[[np.ndarray], np.ndarray]) -> tuple[Recording, list[Estimate]]:
    scene = recording(3)
    truth = change(scene.reference.depth.copy()).astype(np.float32)
    return Recording("x", scene.frames, replace(scene.reference, depth=truth)), answers(scene, 1.1)


def with_answers(change: Callable[[np.ndarray], np.ndarray]) -> tuple[Recording, list[Estimate]]:
    """Depth, disparity and normals of every estimate changed alike."""
    scene = recording(3)
    kinds = ("depth", "disparity", "normals")
    changed = [{kind: change(np.array(getattr(each, kind))) for kind in kinds} for each in answers(scene, 1.1)]
    return scene, [replace(each, **new) for each, new in zip(answers(scene), changed, strict=True)]


def filled(value: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda array: np.full_like(array, value)


def one_pixel(truth: np.ndarray) -> np.ndarray:
    only = np.full_like(truth, np.nan)
    only[1, ROW, COLUMN] = truth[1, ROW, COLUMN]
    return only


def swapped() -> tuple[Recording, list[Estimate]]:
    """Near and far turned around, without metres."""
    scene = recording(3)
    return scene, [replace(each, depth=None, disparity=np.asarray(each.depth)) for each in answers(scene)]


def one_frame() -> tuple[Recording, list[Estimate]]:
    scene = recording(1)
    return scene, answers(scene, 1.1)


ALL = MEASURES
#: case -> (how it is made, measures that must be flagged, words that one flag must have)
CASES: dict[str, tuple[Callable[[], tuple[Recording, list[Estimate]]], set[str], str]] = {
    "truth NaN": (lambda: with_truth(filled(np.nan)), ALL, "no reference pixels"),
    "truth 0": (lambda: with_truth(filled(0)), ALL, "0 pixels to fit on"),
    "truth infinite": (lambda: with_truth(filled(np.inf)), ALL, "the true depth has no step"),
    "truth out of range": (lambda: with_truth(lambda depth: depth + 5), ALL, "no successive frames"),
    "truth one pixel": (
        lambda: with_truth(one_pixel),
        FITTED | {"temporal C", "boundaries depth_pro"},
        "1 pixels to fit on",
    ),
    "truth constant": (
        lambda: with_truth(filled(0.7)),
        FITTED | {"boundaries depth_pro"},
        "the true depth is constant",
    ),
    "answer NaN": (lambda: with_answers(filled(np.nan)), ALL, "no predicted pixels"),
    "answer 0": (lambda: with_answers(filled(0)), ALL, "no predicted normals"),
    "answer infinite": (lambda: with_answers(filled(np.inf)), ALL, "no predicted pixels"),
    "answer constant": (lambda: with_answers(filled(0.6)), FITTED, "the disparity is constant"),
    "swapped": (swapped, FITTED | {"boundaries depth_pro", "provenance inferred"}, "near and far are swapped"),
    "one frame": (one_frame, {"temporal A", "temporal C"}, "no successive frames"),
}


def leaves(scores: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """("A all", its numbers) of one method."""
    for protocol, regions in scores.items():
        for region, leaf in regions.items():
            if region != "alignment":
                yield f"{protocol} {region}", leaf


def scored(made: tuple[Recording, list[Estimate]]) -> VideoScores:
    scene, estimates = made
    return evaluate(scene, estimates, LIMITS, groups=("raw",), detailed=True, published=True)


@pytest.fixture(scope="module")
def good() -> VideoScores:
    scene = recording(3)
    return scored((scene, answers(scene, 1.1)))


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_scored_is_flagged_and_enters_no_mean(case: str, good: VideoScores) -> None:
    make, flagged, words = CASES[case]
    video = scored(make())
    json.dumps(video.scores, allow_nan=False)
    ours = dict(leaves(video.scores[OURS]))
    found = {name for name in MEASURES if name in ours and ours[name]["flag"]}
    assert found - ABSENT == {name for name in flagged if name in ours} - ABSENT
    assert any(words in leaf["flag"] for leaf in ours.values())
    for name, leaf in (*ours.items(), *leaves(video.scores[NETWORK])):
        numbers = {key for key, value in leaf.items() if isinstance(value, float)} - {"coverage", "share"}
        assert bool(leaf["flag"]) == (not numbers), name
    means, alone = mean_scores([good, video]), mean_scores([good])
    for name in found:
        protocol, region = name.split(" ", 1)
        both, before = means[OURS][protocol][region], alone[OURS][protocol].get(region, {})
        assert both["videos"] == before.get("videos", 0), name
        same = {key for key, value in before.items() if isinstance(value, float)} - {"coverage", "share"}
        assert {key: both[key] for key in same} == {key: before[key] for key in same}, name


def test_a_good_video_has_every_measure(good: VideoScores) -> None:
    ours = dict(leaves(good.scores[OURS]))
    assert set(ours) >= MEASURES and not {name for name in MEASURES - ABSENT if ours[name]["flag"]}
    named = {"rel", "rmse_cm", "delta_1_05", "delta_1_10", "delta_1_25", "rmse_capped_m"}  # in docs/benchmarks.md
    assert named <= {name for name, value in ours["A all"].items() if value is not None}
