"""Several processes train what one would: their gradients are really averaged, and one of them writes."""

import csv
import os
import socket
import subprocess
import sys

import pytest
import yaml

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("accelerate", reason="training needs the extra: pip install 'dkt_ros[train]'")

from dkt_ros.engines.checkpoints import load_weights  # noqa: E402
from dkt_ros.training.recipe import load_recipe  # noqa: E402
from dkt_ros.training.sequences import save_sequence, sequence_path  # noqa: E402
from dkt_ros.training.train import train  # noqa: E402
from test.training.recipes import PHASES, VALUES, toy_data  # noqa: E402
from test.training.toy import toy_sequence  # noqa: E402


def two_processes(arguments):
    """What a launcher does: the same command twice, each told who it is. Two gloo ranks on the CPU."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "dkt_ros.training.train", "--cpu", "--threads", "1", *arguments],
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        return [(process.communicate(timeout=600)[0], process.returncode) for process in processes]
    finally:
        for process in processes:
            process.kill()


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folders: two processes; one process with the same batches; one process with the first process's half of them."""
    root = tmp_path_factory.mktemp("runs")
    data = toy_data(root / "data")
    save_sequence(sequence_path(data / "val", 9001), toy_sequence(9001))
    phases = [{**PHASES[0], "steps": 1}, {**PHASES[1], "steps": 2, "frames": {1: 0.5, 5: 0.5}}]
    values = {**VALUES, "phases": phases, "accumulate": 2, "validate_every": 3, "ema": 0.0}
    values["validation"] = {"frames": 5, "pictures": 0}
    for name, changed in (("whole", {}), ("half", {"accumulate": 1, "validate_every": 0})):
        (root / f"{name}.yaml").write_text(yaml.safe_dump({**values, **changed}))
        train(load_recipe(root / f"{name}.yaml"), data, root / name, cpu=True)
    given = ["--recipe", str(root / "whole.yaml"), "--data", str(data), "--out", str(root / "two")]
    for output, code in two_processes(given):
        assert code == 0, output
    return root


def parameters(folder):
    tensors, _ = load_weights(folder / "state.safetensors")
    return {name: tensor for name, tensor in tensors.items() if name.startswith("model.")}


def largest_difference(one, other):
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def test_two_processes_train_what_one_trains_on_all_of_their_batches(runs):
    two, whole, half = (parameters(runs / name) for name in ("two", "whole", "half"))
    assert largest_difference(two, whole) < 1e-6
    # Without averaging, the first process would have trained on its own half.
    assert largest_difference(two, half) > 1e-3


def test_one_log_has_the_means_over_both(runs):
    logs = [list(csv.reader((runs / name / "log.csv").open(newline=""))) for name in ("two", "whole")]
    assert [row[:3] for row in logs[0]] == [row[:3] for row in logs[1]]
    for two, whole in zip(*logs, strict=True):
        assert float(two[3]) == pytest.approx(float(whole[3]), rel=1e-4, abs=1e-5), two
    assert any(row[2] == "val_blind.A.all.rel" for row in logs[0])
