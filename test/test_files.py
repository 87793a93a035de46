"""Files that are whole or not there."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from dkt_ros.files import written_whole


def test_processes_of_the_same_number_on_two_machines_do_not_mix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "000001.tar"
    with written_whole(path) as ours:
        ours.write_text("ours")
        monkeypatch.setattr(platform, "node", lambda: "another")
        with written_whole(path) as theirs:
            theirs.write_text("theirs")
            assert ours != theirs and ours.suffix == theirs.suffix == ".tar"
        assert path.read_text() == "theirs" and ours.read_text() == "ours"
    assert path.read_text() == "ours" and list(tmp_path.iterdir()) == [path]
