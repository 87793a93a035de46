"""The page of a report: whole in itself, small whatever the input, escaped, and true to the report's numbers."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dkt_ros.evaluation.charts import METHOD_COLOURS, Line, line_chart
from dkt_ros.evaluation.gallery import Gallery
from dkt_ros.evaluation.html import write_html
from dkt_ros.evaluation.html_pictures import Paint, depth_picture, error_picture
from dkt_ros.evaluation.means import OURS
from dkt_ros.evaluation.running import Outcome

from . import pages


class Read(HTMLParser):
    """Tags with their attributes, and the text outside of styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self._styled = False
        self.feed(page)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        self._styled = tag == "style"

    def handle_endtag(self, tag: str) -> None:
        self._styled = False

    def handle_data(self, data: str) -> None:
        if not self._styled:
            self.words.append(data)

    def named(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    return pages.evaluated(pages.recording())


@pytest.fixture(scope="module")
def values(outcome: Outcome) -> dict[str, Any]:
    return outcome.report.as_json()


def written(
    folder: Path, report: Mapping[str, Any], galleries: Sequence[Gallery], timing: Mapping[str, Any] | None = None
) -> str:
    write_html(folder / "report.html", report, timing or {}, galleries)
    return (folder / "report.html").read_text(encoding="utf-8")


def test_the_page_needs_nothing_else(tmp_path: Path, outcome: Outcome, values: dict[str, Any]) -> None:
    page = written(tmp_path, values, outcome.galleries, pages.THROUGH_NODE)
    read = Read(page)
    for tag, attributes in read.tags:
        assert tag not in ("script", "link", "iframe", "object", "base")
        for name in ("src", "href", "xlink:href", "srcset", "action"):
            assert re.match(r"data:image/(webp|png);base64,|#", attributes.get(name, "#")), (tag, name)
    bare = re.sub(r"data:image/(webp|png);base64,[\w+/=]*", "", page)
    assert "http" not in bare.replace("http-equiv", "") and "@import" not in bare and "@font-face" not in bare
    assert not re.search(r"url\((?!#)", bare)
    assert all(picture["alt"] for picture in read.named("img")) and len(read.named("img")) > 30
    assert all(each.get("aria-label") or each.get("aria-hidden") for each in read.named("svg"))


def test_its_first_sentences_say_how_good_ours_is(tmp_path: Path, outcome: Outcome, values: dict[str, Any]) -> None:
    text = Read(written(tmp_path, values, outcome.galleries)).text
    best, mean = values["best_classical_fill"], values["mean"]
    for region, words in (("transparent", "On transparent pixels"), ("all", "On all pixels")):
        ours, fill = (mean[name]["C"][region]["rel"] for name in (OURS, best))
        sentence = re.search(rf"{words} the depth of ours is off by {ours:.2%} .*?\.(?= [A-Z])", text)
        assert sentence, text[:800]
        assert f"against {fill:.2%} for the" in sentence.group() and f"({best})" in sentence.group()
        assert f"{abs(ours / fill - 1):.0%} {'more' if ours > fill else 'less'}." in sentence.group()
    ours, sensor = (mean[name]["C"]["transparent_seen"]["rel"] for name in (OURS, "raw sensor"))
    assert f"it is {ours:.2%}, the sensor's {sensor:.2%}: {1 - ours / sensor:.0%} less" in text
    assert mean["raw sensor"]["C"]["all"]["coverage"] < 0.999
    assert "of fewer pixels, so not to be set against ours" in text
    shares = [mean[name]["C"]["all"]["delta_1_05"] for name in (OURS, best)]
    assert f"{shares[0]:.1%} of the pixels of ours, {shares[1]:.1%} of the fill's" in text
    assert "9 of 9 frames of 1 recording" in text and "ground truth within 0.3 to 1.5 m" in text
    for name in mean:  # every row, however good
        assert f"{mean[name]['A']['all']['rel'] * 100:.2f}" in text
    for name, scores in values["videos"][0]["scores"].items():
        fit = scores["A"]["alignment"]
        assert f"{fit['scale']:.4g}" in text and f"{fit['shift']:.4g}" in text and f"{fit['pixels']:,}" in text, name
    assert all(words in text for words in values["protocols"].values())
    assert "a note" in text and values["versions"]["numpy"] in text


def test_a_worse_answer_is_called_worse(tmp_path: Path, values: dict[str, Any]) -> None:
    worse = copy.deepcopy(values)
    fill = worse["mean"][values["best_classical_fill"]]["C"]["transparent"]["rel"]
    worse["mean"][OURS]["C"]["transparent"]["rel"] = 1.5 * fill
    assert f"against {fill:.2%} for the best classical fill ({values['best_classical_fill']}): 50% more." in (
        Read(written(tmp_path, worse, [])).text
    )


@pytest.mark.parametrize(
    ("ours", "sensor", "said"),
    [
        ((0.02, 0.90), (0.01, 0.99), "ours is worse there"),
        ((0.01, 0.99), (0.02, 0.90), "ours is better there"),
        ((0.01, 0.90), (0.02, 0.99), "ours is better by one measure and worse by the other"),
        ((0.01, 0.90), (0.01001, 0.90), "ours is as good there"),
    ],
)
def test_harm_where_the_sensor_is_right_is_said_at_the_top(
    tmp_path: Path,
    values: dict[str, Any],
    ours: tuple[float, float],
    sensor: tuple[float, float],
    said: str,
) -> None:
    report = copy.deepcopy(values)
    best = values["best_classical_fill"]
    for name, numbers in ((OURS, ours), ("raw sensor", sensor), (best, sensor)):
        leaf = dict(zip(("rel", "delta_1_05"), numbers, strict=True)) | {"videos": 1, "coverage": 1.0}
        report["mean"][name]["C"] |= dict.fromkeys(("opaque_seen", "specular_seen", "specular"), leaf)
    text = Read(written(tmp_path, report, [])).text
    head = text[: text.index("Scored: ")]
    for words in ("On opaque things", "On shiny metal"):
        sentence = next(each for each in head.split(". ") if each.startswith(words))
        assert f"REL {ours[0]:.2%}" in sentence and f"{sensor[0]:.2%} and {sensor[1]:.1%}: {said}" in sentence
    assert f"On all of the metal, ours has REL {ours[0]:.2%}" in head
    assert "shiny metal" not in (without := Read(written(tmp_path, values, [])).text)[: without.index("Scored: ")]


def test_a_group_whose_confidence_is_no_probability_is_told(tmp_path: Path, values: dict[str, Any]) -> None:
    report = copy.deepcopy(values)
    told = report["confidence"]["glass inferred"]
    told |= {"confidence": 0.95, "right": 0.54}
    text = Read(written(tmp_path, report, [])).text
    assert 'pixels of "glass inferred" as a probability: it is 95.0% in the mean, but 54.0% are right' in text
    assert "which is another measure than d1.05" in text
    told |= {"confidence": 0.6}
    assert '"glass inferred" as a prob' not in Read(written(tmp_path, report, [])).text


def test_without_camera_poses_it_says_why_there_is_no_tae(tmp_path: Path, values: dict[str, Any]) -> None:
    report, why = copy.deepcopy(values), "no camera poses with its ground truth"
    assert why not in Read(written(tmp_path, report, [])).text
    for scores in report["mean"].values():
        for leaf in scores.get("temporal", {}).values():
            leaf.pop("tae", None)
    assert why in Read(written(tmp_path, report, [])).text


def test_an_engine_beside_itself_is_told(tmp_path: Path, values: dict[str, Any]) -> None:
    report = copy.deepcopy(values)
    report["mean"][report["engine"]] = copy.deepcopy(report["mean"][OURS])
    said = f"{report['engine']}: the engine of ours itself"
    assert said in Read(written(tmp_path, report, [])).text
    report["mean"][report["engine"]]["C"]["all"]["rel"] += 1e-6
    assert said not in Read(written(tmp_path, report, [])).text


def test_names_of_files_cannot_become_tags(tmp_path: Path) -> None:
    bad = '"><script>alert(1)</script><img src=x onerror=alert(2)>'
    outcome = pages.evaluated(pages.recording(bad, frames=3))
    report = outcome.report.as_json() | {"problems": [f"{bad}: cut off"], "command": ["dkt", "eval", bad]}
    page = written(tmp_path, report, outcome.galleries, pages.THROUGH_NODE | {"drops": {bad: 1}})
    read = Read(page)
    assert "<script" not in page and not any("onerror" in attributes for _, attributes in read.tags)
    assert read.text.count("<script>alert(1)</script>") >= 5


def test_sixty_recordings_that_nothing_makes_small_stay_below_ten_megabytes(
    tmp_path: Path, values: dict[str, Any]
) -> None:
    report, galleries = pages.many(values, 60, every=4, noise=(270, 360))
    for video in report["videos"]:
        video["curves"] = {}  # it is the pictures that weigh
    page = written(tmp_path, report, galleries)
    assert 1_000_000 < len(page.encode()) < 10_000_000
    read = Read(page)
    assert all(f"recording {number:03d}" in read.text for number in range(60))
    assert "The worst of 60" in read.text and "The best of 60" in read.text
    assert len(read.named("img")) > 20


def test_thousands_of_recordings_are_cut_and_it_is_said(tmp_path: Path, values: dict[str, Any]) -> None:
    report, galleries = pages.many(values, 2000, every=1000, noise=(6, 8))
    for video in report["videos"]:
        video["curves"] = {}
    report["problems"] = ["x" * 5000 + str(number) for number in range(2000)]
    page = written(tmp_path, report, galleries)
    text = Read(page).text
    assert len(page.encode()) < 10_000_000
    assert "the 400 worst of 2000 recordings; report.json has them all" in text and "and 1940 more" in text
    worst = max(report["videos"], key=lambda video: video["scores"][OURS]["C"]["transparent"]["rel"])
    assert text.count(worst["name"]) >= 2  # in the table, and shown


def test_without_a_sensor_the_page_says_so(tmp_path: Path) -> None:
    outcome = pages.evaluated(pages.recording(sensor=False))
    report = outcome.report.as_json()
    read = Read(written(tmp_path, report, outcome.galleries))
    assert "Ours gave no metric depth that could be scored" in read.text
    assert "After one scale and shift per video against the ground truth" in read.text
    assert "no metric depth: no sensor depth to fit it to" in read.text
    assert not any(picture["alt"].startswith("Sensor") for picture in read.named("img"))
    assert "REL on transparent pixels, %, after the fit of protocol A" in read.text


def test_latency_and_drops_are_shown_where_they_were_measured(
    tmp_path: Path, outcome: Outcome, values: dict[str, Any]
) -> None:
    text = Read(written(tmp_path, values, outcome.galleries, pages.THROUGH_NODE)).text
    assert "310, 520, 900 ms" in text and "the clip was late: 2" in text and "no sensor depth: 0" not in text
    assert "clips that went before they were full 4" in text and "Age of the answer when it came, ms" in text
    text = Read(written(tmp_path, values, outcome.galleries, {"path_seconds_per_frame": 0.05})).text
    assert "50.0 ms a frame (20.0 frames/s)" in text and "frames dropped" not in text
    assert "Time and drops" not in Read(written(tmp_path, values, outcome.galleries)).text


def test_flags_and_missing_frames_are_named(tmp_path: Path, values: dict[str, Any]) -> None:
    report = copy.deepcopy(values)
    report["videos"][0] |= {"answered": 7, "problem": "cut off after 9 messages"}
    report["problems"] = ["cut off after 9 messages"]
    report["mean"][OURS]["B"]["transparent"] |= {"flag": "scale -3 is not positive"}
    text = Read(written(tmp_path, report, [])).text
    assert "scene: 2 of 9 frames have no answer and are not scored" in text
    assert "cut off after 9 messages" in text and "scale -3 is not positive (ours)" in text


def test_a_page_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, values: dict[str, Any]) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    with pytest.raises(KeyError):
        write_html(path, {name: value for name, value in values.items() if name != "valid"}, {}, [])
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_charts_are_drawn_in_the_colours_of_the_page() -> None:
    svg = line_chart("REL < 1", [Line("a", range(9), [0.1] * 9), Line("b", range(9), [0.2] * 9, 1)], "time, s", True)
    assert "var(--method-0)" in svg and "var(--method-1)" in svg and "currentColor" in svg
    assert not re.search("#0[0-4]0[0-9]", svg) and not any(colour in svg for colour in METHOD_COLOURS)
    assert ">time, s<" in svg and 'aria-label="REL &lt; 1"' in svg and "xmlns" not in svg and "<style" not in svg
    assert line_chart("nothing", [Line("a", [0, 1], [None, None])], "time, s") == ""


def test_a_long_curve_keeps_its_peaks_and_its_gaps() -> None:
    values: list[float | None] = [1.0] * 9000
    values[4321], values[6000:6100] = 2.5, [None] * 100
    svg = line_chart("long", [Line("a", range(9000), values)], "frame")
    assert len(svg) < 60_000
    drawn = max(re.findall(r'<path d="([^"]*)"', svg), key=len)
    ups = np.array([float(y) for _, y in re.findall(r"[ML] ([\d.]+) ([\d.]+)", drawn)])
    assert np.isclose((ups.max() - ups.min()) / (187.2 - 39.6 - ups.max()), 1.5, atol=0.02)
    assert drawn.count("M") == 2


def colours(paint: Paint) -> np.ndarray:
    """(n, 3) of the first row."""
    return paint.palette[paint.levels][0].astype(int)


def test_depth_and_errors_have_the_colours_of_the_legend() -> None:
    near, far, hole = colours(depth_picture(np.array([[0.5, 1.0, np.nan]], np.float32), (0.5, 1.0)))
    assert near[0] > near[2] and far[2] > far[0] and hole.tolist() == [255, 0, 255]
    truth = np.array([[1.0, 1.0, 1.0, 1.0, 9.0]], np.float32)
    ours = np.array([[0.8, 1.0, 1.2, np.nan, 1.0]], np.float32)
    low, right, high, missing, unscored = colours(error_picture(ours, truth, pages.LIMITS))
    assert low[0] > low[2] and high[2] > high[0] and right.min() > 230
    assert missing.tolist() == [255, 0, 255] and unscored.tolist() == [217] * 3
