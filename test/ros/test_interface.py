"""The interface page and the SROS 2 policy against the graph of the real nodes, with the launch file's topic names."""

from __future__ import annotations

import re
import xml.etree.ElementTree
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="no ROS here")

from rclpy.parameter import Parameter

from dkt_ros.grasp_node import GraspNode
from dkt_ros.node import PerceptionNode
from test import domains
from test.ros.engine import SensorEngine
from test.ros.harness import Spinning, until

REPOSITORY = Path(__file__).resolve().parents[2]
COLOUR, DEPTH = "/camera/camera/color/", "/camera/camera/aligned_depth_to_color/"
REMAPPINGS = {
    "image": f"{COLOUR}image_raw",
    "image/compressed": f"{COLOUR}image_raw/compressed",
    "camera_info": f"{COLOUR}camera_info",
    "depth": f"{DEPTH}image_raw",
    "depth/compressedDepth": f"{DEPTH}image_raw/compressedDepth",
    "depth/camera_info": f"{DEPTH}camera_info",
}
#: What a node has only where something asks for it, or where a package is installed.
SOMETIMES = {"/clock", "/tf", "/tf_static", "/antipodal_grasps/markers"}
SOMETIMES |= {f"/{node}/get_type_description" for node in ("dkt_perception", "antipodal_grasps")}  # not in Humble
#: rclpy's own, of every node.
EVERY_NODE = re.compile(
    r"/rosout|/parameter_events|.*(_parameters?|_parameter_types|_parameters_atomically|_description)$"
)


def graph(node) -> dict[str, set[str]]:
    """Names that a node publishes, subscribes and serves, as it says itself: nothing has to be discovered."""
    name = node.get_name()
    return {
        "publish": {topic for topic, _ in node.get_publisher_names_and_types_by_node(name, "/")},
        "subscribe": {topic for topic, _ in node.get_subscriber_names_and_types_by_node(name, "/")},
        "reply": {service for service, _ in node.get_service_names_and_types_by_node(name, "/")},
    }


@pytest.fixture(scope="module")
def graphs():
    """Of both nodes, active and with somebody who reads the grasps."""
    from geometry_msgs.msg import PoseArray

    def remapped(pairs):
        return ["--ros-args", *(word for old, new in pairs.items() for word in ("-r", f"{old}:={new}"))]

    domains.enter()
    one, two = Spinning(), Spinning()
    clips = [Parameter("clip_length", value=5), Parameter("overlap", value=1)]
    perception = PerceptionNode(
        lambda name, options=None: SensorEngine(),
        context=one.context,
        cli_args=remapped(REMAPPINGS),
        parameter_overrides=clips,
    )
    grasps = GraspNode(context=two.context, cli_args=remapped({"points": "/dkt_perception/points"}))
    one.start(perception)
    two.start(grasps)
    try:
        assert one.call(perception.start)
        own = {"dkt_perception": graph(perception)}
        perception.create_subscription(PoseArray, "/antipodal_grasps/grasps", lambda message: None, 5)
        until(lambda: "/dkt_perception/points" in graph(grasps)["subscribe"], "the cloud is read")
        yield {**own, "antipodal_grasps": graph(grasps)}
    finally:
        one.stop(perception)
        two.stop(grasps)


def expanded(name: str, node: str) -> str:
    return f"/{node}{name[1:]}" if name.startswith("~") else f"/{name.lstrip('/')}"


@pytest.mark.parametrize("node", ["dkt_perception", "antipodal_grasps"])
def test_the_policy_allows_what_the_node_does_and_nothing_else(graphs, node):
    policy = xml.etree.ElementTree.parse(REPOSITORY / "config" / "sros2_policy.xml").getroot()
    assert (policy.tag, policy.get("version")) == ("policy", "0.2.0")
    (profile,) = policy.findall(f"./enclaves/enclave[@path='/{node}']/profiles/profile")
    assert (profile.get("ns"), profile.get("node")) == ("/", node)
    for verb, kind in (("publish", "topics"), ("subscribe", "topics"), ("reply", "services")):
        groups = [group for group in profile.findall(kind) if group.get(verb) == "ALLOW"]
        allowed = {expanded(each.text, node) for group in groups for each in group}
        free = SOMETIMES | {"/parameter_events"}  # published by all, heard by some releases
        assert allowed - free == graphs[node][verb] - free, verb


@pytest.mark.parametrize("node", ["dkt_perception", "antipodal_grasps"])
def test_the_page_names_every_topic_and_service(graphs, node):
    page = (REPOSITORY / "docs" / "interface.md").read_text()
    remapped = REMAPPINGS | {"points": "/dkt_perception/points"}
    part = page.split(f"\n## {node}\n", 1)[1].split("\n## ", 1)[0]
    for verb, heading in (("publish", "Published topics"), ("subscribe", "Subscribed topics"), ("reply", "Services")):
        names = {name for name in graphs[node][verb] if not EVERY_NODE.fullmatch(name)}
        if f"\n### {heading}\n" not in part:
            assert not names, f"{heading} of {node}"
            continue
        table = part.split(f"\n### {heading}\n", 1)[1].split("\n### ", 1)[0]
        lines = [line for line in table.splitlines() if line.startswith("| `")]
        cells = {cell for line in lines for cell in line.split("|")[1].split(",")}
        given = {expanded(remapped.get(name, name), node) for name in (cell.strip(" `") for cell in cells)}
        assert names - SOMETIMES == given - SOMETIMES, f"{heading} of {node}"


def test_the_page_names_every_key_of_the_diagnostics(world):
    page = (REPOSITORY / "docs" / "interface.md").read_text()
    table = page.split("\n### Diagnostics\n", 1)[1].split("\n## ", 1)[0]
    lines = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    written = re.findall(r"`([^`]+)`", "".join(lines))
    known = [re.escape(key).replace(r"/\*", "/.*") for key in written]
    known = [re.sub(r"/(REASON|STAGE|TOPIC)$", "/.*", key) for key in known]
    person, _ = world()
    for index in range(9):
        person.send_moment(at=1000 + 33 * index)
    person.expect("depth/image", 1000)
    keys = set(person.told(lambda told: int(told["estimates published"]) > 0)) - {"message", "level"}
    assert {key for key in keys if not any(re.fullmatch(each, key) for each in known)} == set()
    sometimes = ("GPU", "QoS refus", "drops", "faults", "clock offset", "age", "in node", "clip (s)", "publishing")
    always = [key for key in known if not key.startswith(tuple(re.escape(word) for word in sometimes))]
    assert [key for key in always if not any(re.fullmatch(key, each) for each in keys)] == []
