"""`dkt eval --against`: baselines and other engines beside ours, in memory that does not grow."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from dkt_ros import cli
from dkt_ros.choices import ENGINE_NAMES
from dkt_ros.commands import CommandError, against
from dkt_ros.engines import EngineOptions
from dkt_ros.evaluation.baselines import GROUPS
from dkt_ros.evaluation.datasets import Dataset, Source
from dkt_ros.evaluation.evaluate import Recording
from dkt_ros.evaluation.players import InProcess
from dkt_ros.evaluation.protocols import Range, Reference
from dkt_ros.evaluation.running import evaluate_all
from dkt_ros.evaluation.videos import Made
from dkt_ros.evaluation.workers import worker_count
from dkt_ros.fills import CLASSICAL_FILLS
from dkt_ros.frames import Frame
from dkt_ros.perception import Perception

from . import rendered
from .eval_runs import Bent, evaluated, script_engines, sequence_tar


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, EngineOptions]]:
    return script_engines(monkeypatch)


@pytest.fixture
def tar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return sequence_tar(tmp_path, monkeypatch)


def test_another_engine_has_the_numbers_that_it_has_alone(tar: Path, loaded) -> None:
    both = evaluated(tar, "--against", "raw,dvd", "--published", out="both")
    alone = evaluated(tar, "--engine", "dvd", "--against", "raw", "--published", out="alone")
    here, there = (report["videos"][0]["scores"] for report in (both, alone))
    assert here["dvd"] == there["ours"] and here["dvd, network alone"] == there["ours, network alone"]
    assert here["ours"] != here["dvd"] and here["dvd"]["temporal"]["C"]["seams"] == 2
    curves, others = (report["videos"][0]["curves"] for report in (both, alone))
    assert curves["rel"]["dvd"] == others["rel"]["ours"] and curves["coverage"]["dvd"] == others["coverage"]["ours"]
    assert list(both["rows"]) == ["raw sensor", "ours", "dvd", "ours, network alone", "dvd, network alone"]
    assert both["engines"]["dvd"]["clip_length"] == 5 and both["engines"]["ours"]["engine"] == "scripted"


def test_every_engine_can_be_compared_with_and_gets_its_own_weights(tar: Path, loaded, capsys) -> None:
    (tar.parent / "w").mkdir()
    words = f"dvd={tar.parent / 'w'}:more,depthlab,completion,dkt"
    report = evaluated(tar, "--against", words, "--threads", "1", "--device", "cpu", "--overlap", "3")
    assert [name for name, _ in loaded] == ["nano", "dvd", "depthlab", "completion", "dkt"]
    dvd = loaded[1][1]
    assert dvd == EngineOptions(weights=(tar.parent / "w", Path("more")), threads=1, device="cpu")
    assert report["engines"]["dvd"]["overlap"] == 1 and report["engines"]["ours"]["overlap"] == 3
    assert all(f"| {name} " in capsys.readouterr().out or name in report["rows"] for name in ENGINE_NAMES[1:])


@pytest.mark.parametrize(
    ("words", "methods"),
    [
        ("none", []),
        ("raw", ["raw sensor"]),
        ("plane", ["plane fit"]),
        ("fills,raw", ["raw sensor", *(name for name in CLASSICAL_FILLS if name != "plane fit")]),
    ],
)
def test_only_what_was_asked_for_is_compared_with(tar: Path, loaded, words: str, methods: list[str]) -> None:
    scores = evaluated(tar, "--against", words)["videos"][0]["scores"]
    assert {name for name in scores if "known mask" not in name} == {"ours", "ours, network alone", *methods}


def test_the_names_are_those_of_the_baselines() -> None:
    assert tuple(GROUPS) == against.BASELINES


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("raw,teapot", "'teapot': no such baseline or engine; there are raw, fills, plane, nano, dkt, dvd, depthlab"),
        ("none,raw", "'none': no such baseline or engine"),
        ("", "'': no such baseline or engine"),
        ("raw=x", "'raw=x': no such baseline or engine"),
        ("dvd=a,dvd=b", "names engine dvd twice"),
    ],
)
def test_what_cannot_be_compared_with_is_told_at_once(tar: Path, loaded, capsys, words: str, said: str) -> None:
    with pytest.raises(CommandError, match=said):
        against.parse(words)
    assert cli.main(["eval", str(tar), "--against", words]) == 1 and said in capsys.readouterr().err
    assert loaded == []


def test_an_engine_without_its_weights_is_told_with_its_name(tar: Path, capsys) -> None:
    assert cli.main(["eval", str(tar), "--against", "dvd"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("dkt eval: --against dvd: engine 'dvd' needs weights") and "--against dvd=PATH" in said


def test_memory_does_not_grow_with_the_recording(loaded) -> None:
    """All of it: two engines, every baseline, the papers' scores, the pictures of the page. Frames and truth are made
    when they are asked for; 30 more of them may not cost one more picture each."""
    scene = rendered.sequence(2)
    first, depth, glass = scene.frames()[0], scene.depth[0], scene.transparent[0]

    class Endless(Sequence[Frame]):
        def __init__(self, length: int) -> None:
            self._length = length

        def __len__(self) -> int:
            return self._length

        def __getitem__(self, index: int) -> Frame:
            if not 0 <= index < self._length:
                raise IndexError(index)
            seen = scene.sensor_depth[0].copy()
            return replace(first, stamp_ns=index * 100_000_000, rgb=first.rgb.copy(), sensor_depth=seen)

    def recording(length: int) -> Recording:
        shape = (length, *depth.shape)
        truth, mask = Made(shape, lambda _: depth.copy()), Made(shape, lambda _: glass.copy())
        stamps = range(0, length * 100_000_000, 100_000_000)
        return Recording("long", Endless(length), Reference("long", truth, mask, truth), stamps_ns=stamps)

    def peak(length: int) -> int:
        dataset = Dataset("made", [Source("long", lambda: recording(length))], Range(), "everything")
        ours, theirs = (InProcess(Perception(Bent())) for _ in range(2))
        tracemalloc.start()
        outcome = evaluate_all(dataset, ours, Range(), {"dvd": theirs}, published=True, pictures=True)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert outcome.report.videos[0].answered == length
        return most

    short = 6 + 4 * worker_count()  # as many are in flight
    peak(short)  # imports, caches
    assert peak(short + 30) - peak(short) < 30 * depth.nbytes  # numbers of each frame are half of that
