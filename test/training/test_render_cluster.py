"""The job on a Ray cluster of two workers on this machine: what is tested is the way through Ray, not a network.

Needs the extra ``cluster``. The workers' renderer is a stand-in, see ``stand_in_renderer``.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dkt_ros.training.render import cluster
from dkt_ros.training.render.__main__ import main
from dkt_ros.training.render.crew import CannotRender
from dkt_ros.training.sequences import load_sequence, sequence_files

ray = pytest.importorskip("ray", reason="no Ray: pip install -e .[cluster]")

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of a cluster with two processors."""
    yield cluster._connect(cluster.LOCAL, 2, 1).get_runtime_context().gcs_address
    ray.shutdown()


def arguments(out: Path, count: int, **trouble: Any) -> list[str]:
    told = json.dumps({name.replace("_", " "): value for name, value in trouble.items()})
    renderer = ["env", f"PYTHONPATH={ROOT}", f"DKT_STAND_IN={told}", sys.executable]
    renderer += ["-m", "test.training.stand_in_renderer"]
    job = f"dataset --recipe full --frames 2 --count {count} --workers 2".split()
    return [*job, "--out", str(out), "--renderer", shlex.join(renderer)]


def begin(arguments: list[str], address: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "dkt_ros.training.render", *arguments, "--cluster", address]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def seeds_in(out: Path) -> list[int]:
    """Seeds of the sequences on disk, each of them whole; nothing half-written beside them."""
    left = {path.name for path in out.iterdir()} - {path.name for path in sequence_files(out)}
    assert left <= {"job.json", "sheets", "records", "logs"}
    return [load_sequence(path).meta["seed"] for path in sequence_files(out)]


def test_nothing_leaves_the_machine(address: str) -> None:
    from ray._common.usage import usage_lib

    assert not usage_lib.usage_stats_enabled()
    assert not ray._private.worker.global_worker.node.address_info["webui_url"], "no dashboard"


def test_two_workers_share_the_seeds_and_what_goes_wrong_is_counted(tmp_path: Path, address: str) -> None:
    with begin(arguments(tmp_path, 12, reject=[1003], dies=[1004], raises=[1005], seconds=0.05), address) as job:
        out, said = job.communicate()
    assert job.returncode == 1, said
    assert "9 rendered, 1 rejected, 2 failed, 0 already there, 2 workers died" in out
    assert seeds_in(tmp_path) == [seed for seed in range(1000, 1012) if seed not in (1003, 1004, 1005)]
    assert len({load_sequence(path).meta["process"] for path in sequence_files(tmp_path)}) >= 2
    assert (tmp_path / "sheets" / "001000-001049.png").exists()


def test_a_job_stopped_under_ray_goes_on_without_it_and_back(tmp_path: Path, address: str) -> None:
    with begin(arguments(tmp_path, 100, seconds=0.1), address) as job:
        while len(list(tmp_path.glob("*.tar"))) < 2 and job.poll() is None:
            time.sleep(0.02)
        job.send_signal(signal.SIGINT)
        _, said = job.communicate()
    assert job.returncode == 130 and "run the same command to go on" in said, said
    before = len(seeds_in(tmp_path))
    assert 2 <= before < 100
    assert main([*arguments(tmp_path, 100), "--shard", "9/10"]) == 0
    between = seeds_in(tmp_path)
    assert set(range(1008, 1100, 10)) <= set(between)
    with begin([*arguments(tmp_path, 100), "--shard", "1/10"], address) as job:
        out, _ = job.communicate()
    assert job.returncode == 0 and f"{10 - sum(seed % 10 == 0 for seed in between)} rendered" in out
    assert set(range(1000, 1100, 10)) <= set(seeds_in(tmp_path))


def test_a_lost_machine_is_noticed_and_its_seed_rendered_by_another(tmp_path: Path, address: str) -> None:
    with begin(arguments(tmp_path, 12, seconds=0.3), address) as job:
        while not list(tmp_path.glob("*.tar")) and job.poll() is None:
            time.sleep(0.02)
        os.kill(_actors()[0], signal.SIGKILL)
        out, said = job.communicate()
    assert job.returncode == 0, said
    # What the lost worker was rendering is finished by its process or rendered by the other worker, whoever is first.
    rendered, there = re.search(
        r"(\d+) rendered, 0 rejected, 0 failed, (\d+) already there, 1 worker died", out
    ).groups()
    assert int(rendered) + int(there) == 12 and int(there) <= 1
    assert "Ray lost the worker" in (said + "".join(path.read_text() for path in tmp_path.glob("records/*")))
    assert len(seeds_in(tmp_path)) == 12


def _actors() -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_text().startswith("ray::_RemoteWorker"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def test_a_machine_that_does_not_see_the_folder_is_named(tmp_path: Path, address: str) -> None:
    code = (
        "import sys; from pathlib import Path; from dkt_ros.training.render.cluster import RayCrew\n"
        "try: list(RayCrew(Path(sys.argv[1]), sys.argv[2]).outcomes([1, 2]))\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), address], cwd=ROOT, capture_output=True, text=True
    )
    assert "CannotRender machine " in done.stdout and f"does not see {tmp_path}/job.json" in done.stdout


def test_without_ray_or_a_cluster_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with begin(arguments(tmp_path, 2), "127.0.0.1:1") as job:
        _, said = job.communicate()
    assert job.returncode == 2 and "no Ray cluster at 127.0.0.1:1" in said and "ray start --head" in said
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(CannotRender, match=r"requirements-cluster\.txt"):
        cluster.RayCrew(tmp_path)
