"""The command: help at once, Ctrl-C and a termination signal save and stop, a full disk is named."""

import os
import resource
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
import yaml

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("accelerate", reason="training needs the extra: pip install 'dkt_ros[train]'")

from dkt_ros.engines.checkpoints import load_weights  # noqa: E402
from test.training.recipes import PHASES, VALUES, toy_data  # noqa: E402

COMMAND = [sys.executable, "-m", "dkt_ros.training.train"]
ENDLESS = {**VALUES, "validate_every": 0, "save_every": 2, "phases": [{**PHASES[0], "steps": 100_000}]}


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    root = tmp_path_factory.mktemp("command")
    toy_data(root / "data")
    (root / "endless.yaml").write_text(yaml.safe_dump(ENDLESS))
    return [*COMMAND, "--recipe", str(root / "endless.yaml"), "--data", str(root / "data"), "--threads", "1", "--cpu"]


def test_help_teaches_and_imports_nothing_heavy():
    program = "import sys; from dkt_ros.training.train import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    program += "print([m for m in ('torch', 'diffusers', 'accelerate', 'cv2', 'matplotlib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("[]")
    for word in ("accelerate launch", "best.safetensors", "--resume", "nano", "--base", "130 stopped"):
        assert word in done.stdout


def test_a_termination_signal_saves_and_stops(given, tmp_path):
    out = tmp_path / "out"
    running = subprocess.Popen([*given, "--out", str(out)], stderr=subprocess.PIPE, text=True)
    try:
        limit = time.monotonic() + 300
        while not (out / "state.safetensors").exists() and running.poll() is None and time.monotonic() < limit:
            time.sleep(0.1)
        running.send_signal(signal.SIGTERM)
        _, errors = running.communicate(timeout=300)
    finally:
        running.kill()
    assert running.returncode == 130, errors
    steps = load_weights(out / "state.safetensors")[1]["steps"]
    assert f"stopped at step {steps} of 100000; go on with --resume" in errors
    assert f"result: {out}/weights.safetensors (as they stand: the recipe validates nothing)" in errors
    rows = (out / "log.csv").read_text().splitlines()
    assert rows[-1].startswith(f"{steps},codec,") and (out / "curves.png").exists()
    assert not [name for name in os.listdir(out) if name.startswith(".")], "nothing half-written"


def test_a_full_disk_is_named_and_leaves_what_was_saved(given, tmp_path):
    """The kernel refuses to let a file grow beyond 50 kB: the weights still fit, the state does not."""
    out = tmp_path / "out"

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    done = subprocess.run([*given, "--out", str(out)], stderr=subprocess.PIPE, text=True, preexec_fn=limit, timeout=300)
    assert done.returncode == 1
    assert f"no room left for {out}" in done.stderr and "make room, then --resume" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (out / "state.safetensors").exists()
    assert not [name for name in os.listdir(out) if name.startswith(".")], "nothing half-written"


def test_tensorboard_has_scalars_and_pictures(tmp_path):
    pytest.importorskip("tensorboard", reason="pip install 'dkt_ros[train]'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from dkt_ros.training.journal import Journal
    from dkt_ros.training.recipe import parse_recipe

    picture = tmp_path / "validation_x.png"
    cv2.imwrite(str(picture), np.zeros((8, 16, 3), np.uint8))
    with Journal(tmp_path / "out", parse_recipe(VALUES), 0, active=True) as journal:
        journal.step(1, "codec", {"total": 0.5, "rate": 0.1})
        journal.validation(1, "codec", {"C.transparent.rel": 0.25}, [picture], (0.25, 1))
    events = EventAccumulator(str(tmp_path / "out" / "tensorboard")).Reload()
    assert events.Scalars("train/total")[0].value == 0.5
    assert events.Scalars("validation/C.transparent.rel")[0].value == 0.25
    assert events.Images("validation/validation_x")[0].width == 16
