"""Start the perception node beside a camera.

    ros2 launch dkt_ros perception.launch.py image_topic:=/camera/camera/color/image_raw

The defaults are the topics of realsense-ros with ``align_depth.enable:=true``. Everything else is in ``params_file``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode
from launch_ros.parameter_descriptions import ParameterFile
from launch_ros.substitutions import FindPackageShare

#: Fast DDS 3 (Kilted and later) reads the first, Fast DDS 2 (Humble, Jazzy) the second.
PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
CAMERA = "/camera/"


def arguments() -> list[DeclareLaunchArgument]:
    """name, default, description of each."""
    share = FindPackageShare("dkt_ros")
    table: tuple[tuple[str, Any, str], ...] = (
        ("camera_name", "camera", "first part of the topics' default names below /camera"),
        ("namespace", "", "of the node and its outputs"),
        ("image_topic", [CAMERA, LaunchConfiguration("camera_name"), "/color/image_raw"], "rectified colour image"),
        ("camera_info_topic", [CAMERA, LaunchConfiguration("camera_name"), "/color/camera_info"], "of that image"),
        (
            "depth_topic",
            [CAMERA, LaunchConfiguration("camera_name"), "/aligned_depth_to_color/image_raw"],
            "depth registered to the image; a topic without publisher means no depth sensor",
        ),
        (
            "depth_camera_info_topic",
            [CAMERA, LaunchConfiguration("camera_name"), "/aligned_depth_to_color/camera_info"],
            "of that depth; only needed if its size is another",
        ),
        ("mask_topic", "mask", "optional mono8 image, not 0 where something is known to be transparent"),
        ("params_file", PathJoinSubstitution([share, "config", "perception.yaml"]), "parameters of the node"),
        ("autostart", "true", "configure and activate at start"),
        ("use_sim_time", "false", "time from /clock, for bags and simulations"),
        ("log_level", "info", "debug, info, warn or error"),
        ("fastdds_profile", "auto", "auto: ours, unless the environment names one; none; or a path"),
    )
    return [DeclareLaunchArgument(name, default_value=value, description=text) for name, value, text in table]


def transport(context: LaunchContext) -> list[Any]:
    """Large images need a larger shared-memory segment than Fast DDS's own; the camera's process needs it too."""
    choice = LaunchConfiguration("fastdds_profile").perform(context)
    if choice == "none":
        return []
    if choice == "auto":
        if any(variable in os.environ for variable in PROFILE_VARIABLES):
            return []
        choice = str(Path(FindPackageShare("dkt_ros").perform(context)) / "config" / "fastdds_large.xml")
    elif not Path(choice).is_file():
        raise FileNotFoundError(f"fastdds_profile {choice}: no such file; give a path, auto or none")
    hint = f"[dkt_ros] transport profile {choice}: set {PROFILE_VARIABLES[0]} to it in the camera's process too"
    return [SetEnvironmentVariable(variable, choice) for variable in PROFILE_VARIABLES] + [LogInfo(msg=hint)]


def generate_launch_description() -> LaunchDescription:
    """The arguments, the transport and the node."""
    image, depth = LaunchConfiguration("image_topic"), LaunchConfiguration("depth_topic")
    node = LifecycleNode(
        package="dkt_ros",
        executable="perception_node",
        name="dkt_perception",
        namespace=LaunchConfiguration("namespace"),
        output="screen",
        parameters=[
            ParameterFile(LaunchConfiguration("params_file"), allow_substs=True),
            {
                "use_sim_time": LaunchConfiguration("use_sim_time"),
                # By the node and not by the launch action, whose autostart Humble does not have.
                "autostart": LaunchConfiguration("autostart"),
            },
        ],
        remappings=[
            ("image", image),
            ("image/compressed", [image, "/compressed"]),
            ("camera_info", LaunchConfiguration("camera_info_topic")),
            ("depth", depth),
            ("depth/compressedDepth", [depth, "/compressedDepth"]),
            ("depth/camera_info", LaunchConfiguration("depth_camera_info_topic")),
            ("mask", LaunchConfiguration("mask_topic")),
        ],
        arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level")],
    )
    return LaunchDescription([*arguments(), OpaqueFunction(function=transport), node])
