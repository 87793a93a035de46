"""The engine's options as node parameters: what reaches the engine, and what is refused with the remedy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dkt_ros.engines import EngineOptions, load_engine
from test.ros.engine import SensorEngine


def given(world, engine="nano", **parameters):
    """(engine's name, its options) that a node with these parameters loads."""
    loaded = []

    def load(name, options=None):
        loaded.append((name, options))
        return SensorEngine()

    robot, under_test = world(node={"loader": load, **parameters}, active=False)
    assert robot.set_parameter("engine", engine).successful
    assert under_test.node.start()
    return loaded[0]


def test_an_option_that_nobody_set_is_the_engine_s_choice(world):
    assert given(world) == ("nano", EngineOptions())


def test_every_option_of_an_engine_is_a_parameter(world):
    options = {"profile": "reference", "steps": 3, "device": "cpu", "precision": "float32"}
    options |= {"threads": 1, "vae": "tiny", "compiled": True, "stitching": "eval", "normals_axes": "+x-y-z"}
    name, got = given(world, engine="dkt", weights="models/dkt", **options)
    assert (name, got) == ("dkt", EngineOptions(weights=Path("models/dkt"), mode="streaming", **options))


def test_what_training_wrote_comes_after_its_base(world):
    _, got = given(world, engine="dkt", weights="models/dkt:out/weights.safetensors")
    assert got.weights == (Path("models/dkt"), Path("out/weights.safetensors"))


@pytest.mark.parametrize(
    ("engine", "parameters", "options"),
    [
        ("dvd", {}, {"profile": "low_latency", "mode": "streaming"}),
        ("dkt", {"profile": "reference"}, {"profile": "reference", "mode": "streaming"}),
        ("depthlab", {}, {}),
    ],
)
def test_a_camera_gets_short_windows_unless_the_user_says_otherwise(world, engine, parameters, options):
    assert given(world, engine, **parameters)[1] == EngineOptions(**options)


def test_the_engine_s_own_clip_is_the_default(world):
    engine = SensorEngine()
    engine.card = replace(engine.card, clip_lengths=(5, 13), clip_length=13, overlap=5)
    _, under_test = world(node={"engine": engine, "clip_length": 0, "overlap": 0}, active=False)
    assert under_test.node.start()
    buffer = under_test.node._pipeline.buffer
    assert (buffer.length, buffer.overlap) == (13, 5)


def test_a_word_that_is_no_choice_is_refused_with_the_choices(world):
    robot, _ = world(active=False)
    assert 'one of "", reference, low_latency' in robot.set_parameter("profile", "fast").reason
    assert robot.set_parameter("profile", "reference").successful
    assert "range" in robot.set_parameter("steps", -1).reason


@pytest.mark.parametrize("name", ["dkt", "dvd", "depthlab"])
def test_missing_weights_fail_at_configure_with_the_path_or_the_option_in_the_log(world, name, capfd, tmp_path):
    robot, under_test = world(node={"loader": load_engine, "device": "cpu"}, active=False)
    assert robot.set_parameter("engine", name).successful
    assert not under_test.node.start()
    assert "weights" in capfd.readouterr().err
    assert robot.set_parameter("weights", str(tmp_path / "nowhere")).successful
    assert not under_test.node.start()
    assert str(tmp_path / "nowhere") in capfd.readouterr().err


def test_an_engine_of_whole_recordings_is_refused_with_the_remedy(world, capfd):
    engine = SensorEngine()
    engine.card = replace(engine.card, whole_video=True)
    _, under_test = world(node={"engine": engine}, active=False)
    assert not under_test.node.start()
    assert "engine 'nano' wants whole recordings" in capfd.readouterr().err


def test_a_full_gpu_is_told_once_and_the_stream_goes_on(world, capfd):
    torch = pytest.importorskip("torch")
    engine = SensorEngine()
    engine.smaller = lambda: "works at 416x240 instead of 832x480"
    engine.fail = torch.OutOfMemoryError("CUDA out of memory")
    robot, _ = world(robot={"outputs": ("depth/image",)}, node={"engine": engine})
    for index in range(9):
        robot.send_moment(1000 + 100 * index)
        if index in (4, 8):
            robot.expect("depth/image", 1000 + 100 * index)
    assert len(robot.got["depth/image"]) == 9
    robot.diagnosed("faults/out of GPU memory", "1")
    assert capfd.readouterr().err.count("works at 416x240 instead of 832x480") == 1


def test_help_names_every_parameter_and_starts_nothing(capsys):
    from dkt_ros import node, node_parameters

    node.main(["--help"])
    said = capsys.readouterr().out
    assert all(f"  {each.name} " in said for each in node_parameters.DECLARED)
    assert "one of nano, dkt, dvd" in said and "[1.0; 0 .. 60]" in said
    assert "image/compressed, camera_info" in said and "write 5.0" in said
