"""`make eval`: one report for each set, and its tables in RESULTS.md above the older ones."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks import eval as make_eval
from dkt_ros.evaluation.baselines import RAW_SENSOR
from dkt_ros.evaluation.means import OURS
from dkt_ros.fills import CLASSICAL_FILLS
from dkt_ros.training.sequences import save_sequence, sequence_path

from . import rendered


def test_the_newest_tables_stand_first_and_reports_lie_beside_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    renders, results = tmp_path / "heldout", tmp_path / "RESULTS.md"
    renders.mkdir()
    for folder in (renders, tmp_path):
        save_sequence(sequence_path(folder, 1), rendered.sequence(3))
    results.write_text(f"# Results\n\n{make_eval.NEWEST_BELOW}\n## older\n")
    monkeypatch.setattr(make_eval, "RESULTS", results)
    monkeypatch.setattr(make_eval, "BUNDLED_BAG", sequence_path(tmp_path, 1))
    monkeypatch.setattr(sys, "argv", ["eval.py", str(renders), "--out", str(tmp_path / "out"), "--threads", "1"])
    assert make_eval.main() == 0
    head, newest, *_ = results.read_text().split("\n## ")
    assert head.endswith(make_eval.NEWEST_BELOW) and newest.startswith("bundled bag, ")
    sections = [part.partition(",")[0] for part in results.read_text().split("\n## ")[1:]]
    assert sections == ["bundled bag", "held-out renders", "older\n"]
    for words in ("engine nano", "| ours ", "| raw sensor ", "AbsRel", "A scale", "cores, load", "ms per frame"):
        assert words in newest, words
    written = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*")}
    names = ("report.json", "report.html", "timing.json")
    assert written == {f"{folder}/{name}" for folder in ("heldout", "bundled_bag") for name in names}


def test_what_cannot_be_used_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["eval.py", str(tmp_path / "absent")])
    with pytest.raises(SystemExit) as ended:
        make_eval.main()
    assert ended.value.code == 1 and "absent: no such file or folder" in capsys.readouterr().err


def test_shiny_metal_has_a_line_where_it_is_known() -> None:
    mean = {
        name: {"C": {"specular": {"rel": rel, "coverage": 1.0, "videos": 2}}}
        for name, rel in zip((RAW_SENSOR, *CLASSICAL_FILLS, OURS), (0.5, 0.04, *[0.1] * 20, 0.2), strict=False)
    }
    mean[OURS] = {"C": {"specular": {"rel": 0.2, "coverage": 0.5, "videos": 2}}}
    best = next(iter(CLASSICAL_FILLS))
    assert f"in 2 videos: raw sensor 50.00 % (cover 100%), {best} 4.00 % (cover 100%), ours 20.00 % (cover 50%)" in (
        make_eval.metal(mean)
    )
    assert make_eval.metal({name: {"C": {}} for name in mean}) == ""
