"""The catalogue: what is promised of each model can be kept."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dkt_ros.choices import ENGINE_NAMES
from dkt_ros.engines.catalogue import KNOWN_SHA256, MODELS, missing_parts, model_named, next_steps


def test_names_are_unique_and_engines_exist() -> None:
    names = [model.name for model in MODELS]
    assert len(set(names)) == len(names) and names[0] == "nano"
    assert {model.engine for model in MODELS} - {""} <= set(ENGINE_NAMES)


def test_an_unknown_name_lists_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"'dvd': no such model; one of nano, .*dvd-1.1"):
        model_named("dvd")


def test_commits_are_whole_and_sums_are_sha256() -> None:
    revisions = [source.revision for model in MODELS for source in model.sources if source.revision]
    assert all(re.fullmatch("[0-9a-f]{40}", each) for each in revisions)
    assert all(re.fullmatch("[0-9a-f]{64}", each) for each in KNOWN_SHA256)
    assert model_named("dvd-1.1").pinned and not model_named("dkt-depth-14b").pinned


def test_weights_that_are_not_free_say_so() -> None:
    for name in ("dvd-1.0", "dvd-1.1"):
        assert "no commercial use" in " ".join(model_named(name).licences)


def test_missing_parts_are_those_not_found() -> None:
    model = model_named("dkt-normal-14b")
    found = ["wan2.1-fun-control-14b", "wan2.1-codec", "dkt-lora-14b", "prompt-depth"]
    assert missing_parts(model, found) == ["normal/dkt-lora-14b", "normal/prompt-normal"]
    assert missing_parts(model, [*found, "normal/dkt-lora-14b", "normal/prompt-normal"]) == []
    assert missing_parts(model_named("text-encoder"), ["umt5-transformers"]) == []


def test_next_steps_are_for_what_is_missing_only(tmp_path: Path) -> None:
    model, folder = model_named("dkt-normal-14b"), tmp_path / "dkt"
    fetch = f"dkt models fetch dkt-normal-14b --out {folder}"
    assert [step.partition("   ")[0] for step in next_steps(model, [], folder)] == [
        fetch,
        f"dkt models embed-prompt --text depth --encoder TEXT_ENCODER --out {folder}/prompt.safetensors",
        f"dkt models embed-prompt --text normal --encoder TEXT_ENCODER --out {folder}/normal/prompt.safetensors",
    ]
    downloaded = [part for part in model.holds if "prompt" not in part]
    assert fetch not in next_steps(model, downloaded, folder) and len(next_steps(model, downloaded, folder)) == 2
    assert next_steps(model, model.holds, folder) == []
    assert len(next_steps(model_named("depthlab"), [], folder)) == 2  # one step for its three pickles
