"""package.xml names the ROS packages that the code imports, and no others."""

from __future__ import annotations

import ast
import xml.etree.ElementTree
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
#: Python module -> the ROS package that has it, where the two have different names.
PACKAGE_OF = {"tf2_ros": "tf2_ros_py"}
#: Commands of the launch files, not imported.
COMMANDS = {"ros2launch", "ros2bag"}
ROS = {"ament_index_python", "builtin_interfaces", "cv_bridge", "launch", "launch_ros", "rcl_interfaces", "rclpy"}
ROS |= {"lifecycle_msgs", "rosgraph_msgs", "message_filters", "tf2_msgs", "tf2_ros", "tf_transformations"}
ROS |= {"sensor_msgs_py", "std_srvs"}


def imported(*folders: str) -> set[str]:
    found = set()
    for folder in folders:
        for file in (REPOSITORY / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Import):
                    found |= {alias.name.partition(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    found.add(node.module.partition(".")[0])
                elif isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.importorskip":
                    found.add(ast.literal_eval(node.args[0]).partition(".")[0])
    return {PACKAGE_OF.get(name, name) for name in found if name in ROS or name.endswith("_msgs")}


def declared(kind: str) -> set[str]:
    root = xml.etree.ElementTree.parse(REPOSITORY / "package.xml").getroot()
    return {each.text for each in root.findall(kind) if each.text and not each.text.startswith("python3-")}


def test_what_is_imported_is_declared_and_what_is_declared_is_used():
    assert declared("exec_depend") == imported("dkt_ros", "launch") | COMMANDS


def test_the_tests_declare_what_only_they_import():
    assert imported("test") - imported("dkt_ros", "launch") == declared("test_depend")
