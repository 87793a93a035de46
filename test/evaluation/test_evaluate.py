"""One report out of recordings: which rows, which frames, which means."""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dkt_ros.evaluation.baselines import RAW_SENSOR
from dkt_ros.evaluation.chamfer import unavailable
from dkt_ros.evaluation.evaluate import Recording, VideoScores, evaluate
from dkt_ros.evaluation.means import NETWORK, OURS, best_fill, mean_scores, reported_rows
from dkt_ros.evaluation.pictures import _no_metres, _times, contact_sheet
from dkt_ros.evaluation.protocols import Range, Reference
from dkt_ros.evaluation.report import Report
from dkt_ros.fills import CLASSICAL_FILLS
from dkt_ros.frames import Estimate

from .. import rendered

LIMITS = Range()


def recording(frames: int = 3) -> Recording:
    sequence = rendered.sequence(frames)
    reference = Reference(
        "scene",
        sequence.depth,
        sequence.transparent,
        sequence.sensor_depth,
        sequence.normals.astype(np.float32),
        sequence.camera_to_world,
        sequence.instance,
    )
    return Recording("scene", sequence.frames(), reference)


def answers(scene: Recording, factor: float = 1.0, metric: bool = True) -> list[Estimate]:
    """Estimates that are the truth times ``factor``."""
    estimates = []
    for index, frame in enumerate(scene.frames):
        depth = scene.reference.depth[index] * np.float32(factor)
        provenance = np.where(scene.reference.transparent[index], 2, 1).astype(np.uint8)
        normals = scene.reference.normals[index].astype(np.float32)
        confidence = np.ones(depth.shape, np.float32)
        estimates.append(
            Estimate(frame, 3 / depth, depth if metric else None, normals, "model", provenance, confidence, None)
        )
    return estimates


def test_every_method_is_scored_on_the_same_frames() -> None:
    scene = recording(5)
    scores = evaluate(scene, answers(scene)[1:4], LIMITS)
    assert (scores.frames, scores.answered) == (5, 3)
    assert {OURS, NETWORK, RAW_SENSOR, *CLASSICAL_FILLS} <= set(scores.scores)
    counted = {method: score["A"]["all"]["reference_pixels"] for method, score in scores.scores.items()}
    assert len(set(counted.values())) == 1
    assert scores.scores[OURS]["C"]["all"]["rel"] == 0.0
    assert scores.scores[OURS]["normals"]["transparent"]["mean_deg"] == pytest.approx(0.0, abs=0.1)
    assert scores.scores[RAW_SENSOR]["C"]["transparent_seen"]["mae_m"] == pytest.approx(0.1, abs=1e-4)


def test_without_metres_there_is_no_protocol_c() -> None:
    scene = recording()
    scores = evaluate(scene, answers(scene, metric=False), LIMITS).scores
    assert scores[OURS]["C"] == {} and scores[OURS]["A"]["all"]["rel"] < 1e-4


def test_the_known_mask_is_an_advantage_that_is_named() -> None:
    scene = recording()
    scores = evaluate(scene, answers(scene), LIMITS).scores
    rows = reported_rows(scores)
    sensor, *fills, ours, masked_fill, network = rows
    assert (sensor, ours, network) == ("raw sensor", "ours", "ours, network alone")
    assert [rows[fill] for fill in fills] == list(CLASSICAL_FILLS)
    (fill,) = [title for title in fills if title.startswith("best fill: ")]
    assert masked_fill.startswith("best fill + known mask: ") and rows[fill] == best_fill(scores)
    best = best_fill(scores)
    assert scores[best]["C"]["transparent"]["rel"] == min(
        scores[name]["C"]["transparent"]["rel"] for name in CLASSICAL_FILLS
    )


def test_estimates_of_another_recording_are_refused() -> None:
    scene, other = recording(2), rendered.sequence(2)
    other.stamps_ns[:] += 7
    stray = answers(Recording("other", other.frames(), scene.reference))
    with pytest.raises(ValueError, match="none of the 2 estimates of ours has the stamp of one of its 2 frames"):
        evaluate(scene, stray, LIMITS)


def test_the_mean_leaves_out_what_could_not_be_scored() -> None:
    scene = recording()
    good = evaluate(scene, answers(scene, 1.1), LIMITS)
    opaque = Recording("opaque", scene.frames, Reference("opaque", scene.reference.depth, scene.reference.depth < 0))
    without_glass = evaluate(opaque, answers(scene, 1.3), LIMITS)
    mean = mean_scores([good, without_glass])[OURS]["C"]
    assert mean["all"]["rel"] == pytest.approx(0.2, abs=1e-4) and mean["all"]["videos"] == 2
    assert mean["transparent"]["rel"] == pytest.approx(0.1, abs=1e-4) and mean["transparent"]["videos"] == 1
    assert mean["transparent"]["flag"] == "no reference pixels in this region"


def test_the_json_is_strict_and_says_what_was_done(tmp_path: Path) -> None:
    scene = recording()
    silent = answers(scene)
    silent = [
        Estimate(e.frame, e.disparity * np.nan, e.depth * np.nan, None, "none", e.provenance, e.confidence, None)
        for e in silent
    ]
    report = Report([evaluate(scene, silent, LIMITS)], LIMITS, "nano", ["dkt", "eval", "scene"], {"rate_hz": 5.0})
    report.write_json(tmp_path / "deep" / "scores.json")
    read = json.loads((tmp_path / "deep" / "scores.json").read_text(), parse_constant=pytest.fail)
    assert (
        set(read["protocols"]) == {"A", "B", "C"} and read["command"][:2] == ["dkt", "eval"] and read["rate_hz"] == 5.0
    )
    assert read["versions"]["numpy"] == np.__version__
    ours = read["videos"][0]["scores"]["ours"]["C"]["all"]
    assert ours["rel"] is None and ours["coverage"] == 0.0 and ours["flag"]
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["scores.json"]


def test_the_table_names_protocols_pixels_and_counts() -> None:
    scene = recording(4)
    table = Report([evaluate(scene, answers(scene)[:3], LIMITS)], LIMITS, "nano", [], {}).table()
    head, rule, *rows = table.split("\n\n")[0].splitlines()
    assert head.count("|") == rule.count("|") == rows[0].count("|")
    titles = [row.split("|")[1].strip().partition(":")[0] for row in rows]
    assert len(titles) == len(CLASSICAL_FILLS) + 4 and titles[0] == "raw sensor" and titles[7] == "ours"
    assert titles.count("best fill") == 1
    for words in (
        "A: one scale and shift per video",
        "C: no fit against the ground truth",
        "3 of 4 frames",
        "0.3 to 1.5 m",
    ):
        assert words in table
    assert "nan" not in table.lower()


def detailed(scene: Recording, estimates: Iterable[Estimate], **options) -> VideoScores:
    return evaluate(scene, estimates, LIMITS, detailed=True, **options)


def test_whole_pictures_are_scored_for_us_and_the_sensor() -> None:
    scene = recording(7)
    scored = detailed(scene, answers(scene, 1.1), starts=lambda row: {3, 5})
    ours, sensor, fill = (scored.scores[name] for name in (OURS, RAW_SENSOR, "nearest"))
    assert ours["temporal"]["A"]["tae"] < ours["temporal"]["C"]["tae"] + 1e-6 and ours["temporal"]["C"]["seams"] == 2
    assert ours["temporal"]["A"]["seam_across"] == pytest.approx(0, abs=1e-5)
    assert set(scored.scores[NETWORK]["temporal"]) == {"A"} and scored.scores[NETWORK]["clouds"] == {}
    assert ours["boundaries"]["depth_pro"]["depth_pro_f1"] > sensor["boundaries"]["depth_pro"]["depth_pro_f1"]
    assert ours["provenance"]["glass inferred"]["rel"] == pytest.approx(0.1, rel=1e-4)
    assert ours["provenance"]["glass measured"]["flag"] and ours["provenance"]["glass inferred"]["share"] == 1.0
    assert "temporal" not in fill and "provenance" not in sensor
    clouds = ours["clouds"]["objects"]
    assert clouds["chamfer_m"] is None if unavailable() else clouds["chamfer_m"] > 0.01
    assert clouds["flag"] == unavailable()
    unknown = replace(scene, frames=[replace(frame, intrinsics=None) for frame in scene.frames])
    blind = detailed(unknown, answers(unknown, 1.1)).scores[OURS]["clouds"]["objects"]
    assert blind["chamfer_m"] is None and ("camera_info" in blind["flag"] or blind["flag"] == unavailable() != "")


def test_what_cannot_be_scored_is_flagged_and_enters_no_mean() -> None:
    scene = recording(3)
    dark = Recording("dark", scene.frames, replace(scene.reference, depth=scene.reference.depth * np.nan))
    videos = [detailed(scene, answers(scene, 1.1)), detailed(dark, answers(scene, 1.1))]
    swapped = [replace(e, depth=None, disparity=np.asarray(e.depth)) for e in answers(scene)]
    videos.append(detailed(scene, swapped))
    report = Report(videos, LIMITS, "nano", [], {}).as_json()
    json.dumps(report, allow_nan=False)
    mean = report["mean"][OURS]
    assert mean["temporal"]["A"]["tae"] == videos[0].scores[OURS]["temporal"]["A"]["tae"]
    assert "near and far are swapped" in mean["temporal"]["A"]["flag"] and mean["temporal"]["A"]["videos"] == 1
    assert mean["boundaries"]["depth_pro"]["videos"] == 1
    assert set(report["measures"]) == {"temporal", "boundaries", "clouds", "provenance"}


def test_frames_without_truth_are_in_no_number() -> None:
    scene = recording(6)
    truth = scene.reference.depth
    whole = evaluate(scene, answers(scene, 1.1), LIMITS, published=True, groups=("raw",)).scores
    bare = replace(scene, counts={"pictures without ground truth": 3})
    truth[1::2] = np.nan
    estimates = answers(recording(6), 1.1)
    scored = evaluate(bare, estimates, LIMITS, published=True, groups=("raw",))
    assert scored.scores[OURS]["C"]["all"]["rel"] == pytest.approx(whole[OURS]["C"]["all"]["rel"], rel=1e-6)
    published = scored.scores[OURS]["published"]["all"]
    assert not published["flag"] and published["relative_temporal_difference"] is None
    assert "6 of 6 frames of 1 video (3 of the 6 have no ground truth" in Report([scored], LIMITS, "x", [], {}).table()


def test_frames_across_a_gap_do_not_succeed_each_other() -> None:
    scene = recording(8)
    estimates = answers(scene, 1.1)
    scored = detailed(scene, [estimates[index] for index in (0, 1, 4, 5, 7)], groups=()).scores
    assert scored[OURS]["temporal"]["C"]["pairs"] == 2


def test_the_papers_scores_are_asked_for_and_name_their_protocol() -> None:
    scene = recording(4)
    asked = evaluate(scene, answers(scene, 1.1)[:3], LIMITS, published=True)
    report = Report([asked], LIMITS, "nano", [], {})
    assert [name for name, scores in asked.scores.items() if "published" in scores] == [OURS, NETWORK]
    leaf = asked.scores[OURS]["published"]["all"]
    assert leaf["abs_rel"] == pytest.approx(0.0, abs=1e-5) and 0 < leaf["boundary_f1"] <= 1
    assert leaf["relative_temporal_difference"] == pytest.approx(0.0, abs=1e-5)
    table = report.more_tables()[-1]
    head, rule, *rows = table.split("\n\n")[0].splitlines()
    assert head.count("|") == rule.count("|") == rows[0].count("|") and len(rows) == 2
    assert "DVD's chain): one scale and shift per video" in table and "strictly within 0.3 to 1.5 m" in table
    assert "published" in report.as_json()["protocols"]
    assert len(Report([evaluate(scene, answers(scene), LIMITS)], LIMITS, "nano", [], {}).more_tables()) == 2


def test_a_video_that_the_papers_would_leave_out_is_named_and_enters_no_mean() -> None:
    scene = recording()
    good = evaluate(scene, answers(scene), LIMITS, published=True)
    scene.reference.depth[1] = 9.0  # beyond the range
    empty = evaluate(scene, answers(scene), LIMITS, published=True)
    report = Report([good, empty], LIMITS, "nano", [], {})
    assert f"Left out of the mean of {NETWORK}: frame 1 has no pixel to score." in report.more_tables()[-1]
    mean = mean_scores(report.videos)[NETWORK]["published"]["all"]
    assert mean["videos"] == 1 and mean["abs_rel"] == good.scores[NETWORK]["published"]["all"]["abs_rel"]


def test_the_bars_are_computed_from_their_own_pixels() -> None:
    scene = recording()
    scored = evaluate(scene, answers(scene, 1.01), LIMITS)
    text = Report([scored], LIMITS, "nano", [], {}).bars()
    sensor = scored.scores[RAW_SENSOR]["C"]["transparent_seen"]["rel"]
    assert f"REL is {0.01 / sensor:.2f} of the sensor's" in text
    assert "below the best classical fill's (bar: 25% below)" in text and "mm against the sensor's (bar: +2 mm)" in text
    worse = Report([evaluate(scene, answers(scene, 1.5), LIMITS)], LIMITS, "nano", [], {}).bars()
    assert "above the best classical fill's" in worse and "REL is -" not in worse
    (line,) = (line for line in worse.splitlines() if line.startswith("- opaque things"))
    assert "ours has REL 50.00%, and 0.0% of its pixels" in line and "ours is worse there; median |error|" in line


def test_an_empty_mean_is_empty() -> None:
    assert mean_scores([VideoScores("x", 0, 0, {})]) == {}


def test_the_times_of_a_contact_sheet_differ() -> None:
    assert _times([0, 500_000_000]) == ["0.0 s", "0.5 s"]
    assert _times([0, 33_333_333, 66_666_667]) == ["0.00 s", "0.03 s", "0.07 s"]


def test_the_contact_sheet_is_a_picture(tmp_path: Path) -> None:
    import cv2

    scene = recording(6)
    estimates = answers(scene, 1.02)
    estimates[3] = Estimate(
        scene.frames[3],
        estimates[3].disparity,
        None,
        None,
        "none",
        estimates[3].provenance,
        estimates[3].confidence,
        None,
    )
    contact_sheet(scene, estimates, tmp_path / "sheet.png", LIMITS, moments=3)
    picture = cv2.imread(str(tmp_path / "sheet.png"))
    assert picture.shape[1] > 1500 and len(np.unique(picture.reshape(-1, 3), axis=0)) > 100
    magenta = (picture == (255, 0, 255)).all(-1)
    assert magenta.any()  # the hole in the sensor's depth
    assert _no_metres(estimates[3]) == "no metric depth: nothing in the sensor's depth to fit it to"
    with pytest.raises(ValueError, match="no estimate belongs"):
        contact_sheet(scene, [], tmp_path / "none.png", LIMITS)
