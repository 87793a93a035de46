"""Launch files: what they declare, which topics they mean, and what they start. Needs launch_ros, and this package in
the ament index (colcon build, source install/setup.bash); where that is not so, only their syntax is looked at."""

from __future__ import annotations

import ast
import json
import re
import runpy
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
FILES = sorted((REPOSITORY / "launch").glob("*.launch.py"))
DEMO = str(REPOSITORY / "dkt_ros" / "resources" / "demo")
COMMON = {"camera_name", "namespace", "image_topic", "camera_info_topic", "depth_topic", "depth_camera_info_topic"}
COMMON |= {"mask_topic", "params_file", "autostart", "respawn", "grasps", "use_rviz", "rviz_config", "rviz_frame"}
COMMON |= {"bag", "use_sim_time", "log_level", "fastdds_profile"}

#: file, arguments -> image, depth, frame: the names in the drivers' own sources and documentation.
TOPICS = [
    ("perception", {}, "/camera/camera/color/image_raw", "/camera/camera/aligned_depth_to_color/image_raw", ""),
    (
        "realsense",
        {"camera_namespace": "arm", "camera_name": "wrist"},
        "/arm/wrist/color/image_raw",
        "/arm/wrist/aligned_depth_to_color/image_raw",
        "wrist_color_optical_frame",
    ),
    (
        "zed",
        {},
        "/zed/zed_node/rgb/color/rect/image",
        "/zed/zed_node/depth/depth_registered",
        "zed_left_camera_frame_optical",
    ),
    ("depthai", {}, "/oak/rgb/image_rect", "/oak/stereo/image_raw", "oak_rgb_camera_optical_frame"),
    (
        "depthai",
        {"rs_compat": "true"},
        "/camera/camera/color/image_rect",
        "/camera/camera/depth/image_rect_raw",
        "camera_color_optical_frame",
    ),
    ("orbbec", {}, "/camera/color/image_raw", "/camera/depth/image_raw", "camera_color_optical_frame"),
]


@pytest.fixture(scope="module")
def installed():
    pytest.importorskip("launch_ros", reason="launch_ros is not installed (it comes with a ROS install)")
    from ament_index_python.packages import PackageNotFoundError, get_package_share_directory

    try:
        return Path(get_package_share_directory("dkt_ros"))
    except (PackageNotFoundError, OSError):
        pytest.skip("dkt_ros is not in the ament index: colcon build, then source install/setup.bash")


def started(name: str, **given: str):
    """The launch context after a launch file was read with these arguments, and what it then starts."""
    from launch import LaunchContext
    from launch.actions import DeclareLaunchArgument, OpaqueFunction

    description = runpy.run_path(str(REPOSITORY / "launch" / f"{name}.launch.py"))["generate_launch_description"]()
    context = LaunchContext()
    context.launch_configurations.update(given)
    actions = []
    for entity in description.entities:
        if isinstance(entity, DeclareLaunchArgument):
            entity.visit(context)
        elif isinstance(entity, OpaqueFunction):
            actions += entity.visit(context) or []
    return context.launch_configurations, actions


def kinds(actions) -> list[str]:
    return [type(action).__name__ for action in actions]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_launch_file_can_be_read(file):
    tree = ast.parse(file.read_text())
    assert any(isinstance(node, ast.FunctionDef) and node.name == "generate_launch_description" for node in tree.body)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_launch_file_declares_what_users_know(installed, file):
    description = runpy.run_path(str(file))["generate_launch_description"]()
    names = {argument.name for argument in description.get_launch_arguments()}
    assert names >= COMMON
    assert ("start_camera" in names) == (file.name != "perception.launch.py")


@pytest.mark.parametrize(("name", "given", "image", "depth", "frame"), TOPICS)
def test_the_topics_are_those_of_the_driver(installed, name, given, image, depth, frame):
    values, actions = started(name, **given)
    assert (values["image_topic"], values["depth_topic"]) == (image, depth)
    assert values["camera_info_topic"].rsplit("/", 1)[0] == image.rsplit("/", 1)[0]
    assert values["depth_camera_info_topic"].rsplit("/", 1)[0] == depth.rsplit("/", 1)[0]
    assert frame in values["rviz_frame"]
    assert Path(values["params_file"]) == installed / "config" / "perception.yaml"
    assert kinds(actions)[-1] == "LifecycleNode"


def test_the_page_has_every_file_and_argument():
    page = (REPOSITORY / "docs" / "launch.md").read_text()
    assert all(f"| `{file.name}` |" in page for file in FILES)
    table = page.split("## Arguments of all of them")[1].split("## Examples")[0]
    assert set(re.findall(r"`(\w+)`", "".join(line.split("|")[1] for line in table.splitlines() if "|" in line))) == (
        COMMON - {"camera_name"}
    )


def test_a_bag_comes_before_the_node_so_that_its_activation_is_not_missed(installed):
    _, actions = started("perception", bag=DEMO)
    assert kinds(actions)[-2:] == ["RegisterEventHandler", "LifecycleNode"]
    assert actions[-2].event_handler.handle_once  # a node may be activated twice, a launch action not be run twice


def test_grasps_and_rviz_are_started_on_request(installed):
    _, actions = started("perception", grasps="true", use_rviz="true", namespace="arm")
    assert kinds(actions)[-3:] == ["LifecycleNode", "Node", "Node"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"start_camera": "true", "bag": DEMO}, "exclude each other"),
        ({"start_camera": "true"}, "needs the package realsense2_camera: sudo apt install"),
        ({"autostart": "perhaps"}, "autostart:=perhaps: must be true or false"),
        ({"fastdds_profile": "gone.xml"}, "gone.xml: no such file; give a path, auto or none"),
    ],
)
def test_what_cannot_be_started_says_so(installed, monkeypatch, given, words):
    if "realsense2_camera" in words:
        from ament_index_python.packages import get_packages_with_prefixes

        if "realsense2_camera" in get_packages_with_prefixes():
            pytest.skip("realsense2_camera is installed here")
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        started("realsense", **given)


def test_a_driver_that_needs_more_names_it(installed):
    with pytest.raises(ValueError, match="the driver needs camera_model:="):
        started("zed", start_camera="true")


def test_the_transport_profile_is_set_unless_the_user_has_one(installed, monkeypatch):
    for variable in ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"):
        monkeypatch.delenv(variable, raising=False)
    assert "SetEnvironmentVariable" in kinds(started("perception")[1])
    assert "SetEnvironmentVariable" not in kinds(started("perception", fastdds_profile="none")[1])
    monkeypatch.setenv("FASTDDS_DEFAULT_PROFILES_FILE", "mine.xml")
    assert "SetEnvironmentVariable" not in kinds(started("perception")[1])


def test_rviz_shows_topics_that_exist_with_the_qos_that_they_have():
    from dkt_ros.demo import OUTPUTS

    file = yaml.safe_load((REPOSITORY / "config" / "perception.rviz").read_text())
    displays = [each for each in file["Visualization Manager"]["Displays"] if "Topic" in each]
    for display in displays:
        topic = display["Topic"]["Value"]
        captured = topic.startswith("/dkt_perception/captured/")
        assert topic.replace("captured/", "") in OUTPUTS or topic.startswith("/antipodal_grasps/")
        assert display["Topic"]["Durability Policy"] == ("Transient Local" if captured else "Volatile")
    launching = (REPOSITORY / "dkt_ros" / "launching.py").read_text()
    listed = launching.split("SHOWN = (")[1].split("\n)")[0].replace("{NODE}", "dkt_perception")
    for display in displays:
        assert display["Topic"]["Value"] in listed  # else a namespace would not reach it


def test_the_foxglove_layout_places_every_panel_that_it_configures():
    layout = json.loads((REPOSITORY / "config" / "foxglove.json").read_text())
    assert {"configById", "layout", "globalVariables", "userNodes", "playbackConfig"} == set(layout)

    def leaves(node):
        return {node} if isinstance(node, str) else leaves(node["first"]) | leaves(node["second"])

    assert leaves(layout["layout"]) == set(layout["configById"])
