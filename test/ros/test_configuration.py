"""The files that ship: package.xml, parameter file, transport profile, launch file, and what colcon makes of them."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]


def test_package_xml_is_what_ros_takes_for_an_ament_python_package():
    """An invalid e-mail would make colcon treat the package as plain Python, and ros2 launch would not find it."""
    catkin_package = pytest.importorskip("catkin_pkg.package", reason="pip install catkin_pkg")
    warnings: list[str] = []
    package = catkin_package.parse_package(str(REPOSITORY / "package.xml"), warnings=warnings)
    package.validate(warnings=warnings)
    assert (package.name, package.get_build_type(), warnings) == ("dkt_ros", "ament_python", [])


def test_the_version_is_the_same_everywhere():
    from dkt_ros import __version__

    written = xml.etree.ElementTree.parse(REPOSITORY / "package.xml").getroot().findtext("version")
    assert written == __version__
    assert f'version="{__version__}"' in (REPOSITORY / "setup.py").read_text()


UNWRITTEN = ("autostart", "static_extrinsics")


def test_the_parameter_file_holds_every_parameter_with_its_default():
    pytest.importorskip("rclpy", reason="no ROS here")
    from dkt_ros.node_parameters import DECLARED

    file = yaml.safe_load((REPOSITORY / "config" / "perception.yaml").read_text())
    written: dict[str, object] = {}
    for name, value in file["/**/dkt_perception"]["ros__parameters"].items():
        inner = value if isinstance(value, dict) else {"": value}
        written.update({f"{name}.{key}".rstrip("."): each for key, each in inner.items()})
    # One without a default stands there as a comment: ROS's parser takes no empty list.
    assert written == {each.name: each.default for each in DECLARED if each.name not in UNWRITTEN}


def test_the_transport_profile_is_the_default_of_every_participant():
    root = xml.etree.ElementTree.parse(REPOSITORY / "config" / "fastdds_large.xml").getroot()
    space = {"d": "http://www.eprosima.com"}
    assert root.find(".//d:participant", space).get("is_default_profile") == "true"
    assert int(root.findtext(".//d:segment_size", namespaces=space)) >= 8 << 20


def test_the_launch_file_compiles():
    ast.parse((REPOSITORY / "launch" / "perception.launch.py").read_text())


def test_the_launch_file_declares_what_users_know(monkeypatch):
    pytest.importorskip("launch_ros", reason="launch_ros is not installed (it comes with a ROS install)")
    import runpy

    description = runpy.run_path(str(REPOSITORY / "launch" / "perception.launch.py"))["generate_launch_description"]()
    names = {argument.name for argument in description.get_launch_arguments()}
    assert {"camera_name", "namespace", "image_topic", "camera_info_topic", "depth_topic", "params_file"} <= names
    assert {"autostart", "use_sim_time", "log_level", "fastdds_profile"} <= names


@pytest.fixture(scope="module")
def colcon() -> str:
    beside = Path(sys.executable).with_name("colcon")
    found = str(beside) if beside.exists() else shutil.which("colcon")
    if found is None:
        pytest.skip("colcon is not installed: pip install '.[test]'")
    return found


def test_colcon_builds_it_where_ros2_run_and_ros2_launch_look(colcon, tmp_path):
    source = tmp_path / "src" / "dkt_ros"
    unwanted = shutil.ignore_patterns(
        ".*", "data", "runs", "out", "build", "install", "log", "*.egg-info", "__pycache__"
    )
    shutil.copytree(REPOSITORY, source, symlinks=True, ignore=unwanted)
    environment = {**os.environ, "COLCON_LOG_PATH": str(tmp_path / "log")}
    listed = subprocess.run([colcon, "list"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert "dkt_ros\tsrc/dkt_ros\t(ros.ament_python)" in listed.stdout
    subprocess.run([colcon, "build"], cwd=tmp_path, env=environment, check=True, capture_output=True, text=True)
    prefix = tmp_path / "install" / "dkt_ros"
    for script in ("perception_node", "dkt"):
        assert (prefix / "lib" / "dkt_ros" / script).read_text().startswith("#!/usr/bin/env python3\n")
    share = prefix / "share"
    for file in ("package.xml", "launch/perception.launch.py", "config/perception.yaml", "config/fastdds_large.xml"):
        assert (share / "dkt_ros" / file).is_file()
    assert (share / "ament_index" / "resource_index" / "packages" / "dkt_ros").is_file()
    (installed,) = prefix.glob("lib/python3*/site-packages/dkt_ros")
    assert (installed / "training" / "sequences.py").is_file() and not (installed / "training").is_symlink()
    for pattern in ("dkt_ros/engines/nano/*.safetensors", "dkt_ros/resources/*/*", "training/recipes/*.yaml"):
        for file in source.glob(pattern):  # what a first run needs beside the code
            inside = file.relative_to(source / "dkt_ros" if pattern.startswith("dkt_ros") else source)
            assert (installed / inside).is_file(), inside
