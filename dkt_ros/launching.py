"""What the launch files share: the arguments, the node, and what may run beside it. Needs ``launch_ros``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    GroupAction,
    IncludeLaunchDescription,
    LogInfo,
    OpaqueFunction,
    RegisterEventHandler,
    ResetLaunchConfigurations,
    SetEnvironmentVariable,
)
from launch.launch_context import LaunchContext  # not from launch: mypy takes our folder of that name for it
from launch.launch_description import LaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch.utilities import normalize_to_list_of_substitutions, perform_substitutions
from launch_ros.actions import LifecycleNode, Node
from launch_ros.event_handlers import OnStateTransition
from launch_ros.parameter_descriptions import ParameterFile
from launch_ros.substitutions import FindPackageShare

PACKAGE, NODE = "dkt_ros", "dkt_perception"
#: Fast DDS 2 reads the first, Fast DDS 3 (Kilted and later) the second and warns of the first.
OLD_PROFILE, NEW_PROFILE = "FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"
#: Topics that config/perception.rviz shows, without the namespace.
SHOWN = (
    f"/{NODE}/points",
    f"/{NODE}/depth/image",
    f"/{NODE}/confidence",
    f"/{NODE}/captured/points",
    "/antipodal_grasps/grasps",
    "/antipodal_grasps/markers",
)
#: s between the node's activation and the first message of a bag, for its publishers to be found.
BAG_DELAY = "2"

#: What launch makes a string of: a string, a substitution, or a sequence of them.
Text = Any


@dataclass(frozen=True)
class Driver:
    """Another package's launch file that starts a camera; ``arguments`` is all that it is given."""

    package: Text
    launch_file: Text
    arguments: dict[str, Text]
    install: str


@dataclass(frozen=True)
class Camera:
    """A camera family: where its driver publishes, and how to start that driver.

    Attributes:
        image, camera_info, depth, depth_camera_info: full topic names.
        optical_frame: frame_id of the image.
        arguments: (name, default, description) of the launch arguments that only this family has.
        driver: None where ``start_camera`` makes no sense.
    """

    image: Text
    camera_info: Text
    depth: Text
    depth_camera_info: Text
    optical_frame: Text
    arguments: tuple[tuple[str, str, str], ...] = ()
    driver: Driver | None = None


def describe(camera: Camera) -> LaunchDescription:
    """The launch description of the perception node beside a camera of this family."""
    own = [_argument(*each) for each in camera.arguments]
    if camera.driver is not None:
        own.append(_argument("start_camera", "false", "start the camera's driver, too"))

    def start(context: LaunchContext) -> list[Any]:
        return [*_transport(context), *_camera(context, camera.driver), *_nodes(context)]

    return LaunchDescription([*own, *_common(camera), OpaqueFunction(function=start)])


def _argument(name: str, default: Any, description: str) -> DeclareLaunchArgument:
    return DeclareLaunchArgument(name, default_value=default, description=description)


def _common(camera: Camera) -> list[DeclareLaunchArgument]:
    config = [FindPackageShare(PACKAGE), "config"]
    table: tuple[tuple[str, Any, str], ...] = (
        ("namespace", "", "of the node and its outputs"),
        ("image_topic", camera.image, "rectified colour image"),
        ("camera_info_topic", camera.camera_info, "of that image"),
        ("depth_topic", camera.depth, "depth registered to the image; without a publisher there is no depth sensor"),
        ("depth_camera_info_topic", camera.depth_camera_info, "of that depth; only needed if its size is another"),
        ("mask_topic", "mask", "optional mono8 image, not 0 where something is known to be transparent"),
        ("params_file", PathJoinSubstitution([*config, "perception.yaml"]), "parameters of the nodes"),
        ("autostart", "true", "configure and activate at start"),
        ("respawn", "false", "start the node again when its process dies"),
        ("grasps", "false", "start the example grasp node on the cloud, too"),
        ("use_rviz", "false", "start rviz2, too"),
        ("rviz_config", PathJoinSubstitution([*config, "perception.rviz"]), "what rviz2 shows"),
        ("rviz_frame", camera.optical_frame, "fixed frame of rviz2"),
        ("bag", "", "recording that is replayed once the node is active"),
        ("use_sim_time", "auto", "time from /clock: true, false, or auto, which is true while a bag is replayed"),
        ("log_level", "info", "debug, info, warn or error"),
        ("fastdds_profile", "auto", "auto: ours, unless the environment names one; none; or a path"),
    )
    return [_argument(*each) for each in table]


def _text(context: LaunchContext, parts: Text) -> str:
    return str(perform_substitutions(context, normalize_to_list_of_substitutions(parts)))


def _value(context: LaunchContext, name: str) -> str:
    return _text(context, LaunchConfiguration(name))


def _is_true(context: LaunchContext, name: str) -> bool:
    value = _value(context, name).lower()
    if value not in ("true", "false", "1", "0"):
        raise ValueError(f"{name}:={value}: must be true or false")
    return value in ("true", "1")


def _transport(context: LaunchContext) -> list[Any]:
    """Large images need a larger shared-memory segment than Fast DDS's own; the camera's process needs it, too."""
    choice = _value(context, "fastdds_profile")
    if choice == "none":
        return []
    if choice == "auto":
        if any(variable in os.environ for variable in (OLD_PROFILE, NEW_PROFILE)):
            return []
        choice = str(Path(get_package_share_directory(PACKAGE)) / "config" / "fastdds_large.xml")
    elif not Path(choice).is_file():
        raise FileNotFoundError(f"fastdds_profile:={choice}: no such file; give a path, auto or none")
    old = os.environ.get("ROS_DISTRO") in ("humble", "iron", "jazzy")
    variable = OLD_PROFILE if old else NEW_PROFILE
    hint = f"[{PACKAGE}] transport: {variable}={choice} (a camera driver started elsewhere needs that variable, too)"
    return [SetEnvironmentVariable(variable, choice), LogInfo(msg=hint)]


def _camera(context: LaunchContext, driver: Driver | None) -> list[Any]:
    """The driver, shut off from our arguments: `namespace`, `params_file` and more are names of its own, too."""
    if driver is None or not _is_true(context, "start_camera"):
        return []
    if _value(context, "bag"):
        raise ValueError("bag and start_camera: a recording and a live camera exclude each other; give one of them")
    arguments = {name: _text(context, value) for name, value in driver.arguments.items()}
    empty = [name for name, value in arguments.items() if not value]
    if empty:
        raise ValueError(f"start_camera:=true: the driver needs {', '.join(f'{name}:=...' for name in empty)}")
    package = _text(context, driver.package)
    try:
        share = Path(get_package_share_directory(package))
    except PackageNotFoundError as error:
        raise FileNotFoundError(f"start_camera:=true needs the package {package}: {driver.install}") from error
    source = PythonLaunchDescriptionSource(str(share / "launch" / _text(context, driver.launch_file)))
    include = IncludeLaunchDescription(source, launch_arguments=list(arguments.items()))
    return [GroupAction([ResetLaunchConfigurations(), include])]


def _nodes(context: LaunchContext) -> list[Any]:
    """The perception node and, as asked for, a bag, the grasp node and rviz."""
    namespace, bag, clock = _value(context, "namespace").strip("/"), _value(context, "bag"), "use_sim_time"
    simulated = {clock: bool(bag) if _value(context, clock) == "auto" else _is_true(context, clock)}
    logging = ["--ros-args", "--log-level", _value(context, "log_level")]
    own: dict[str, Any] = {"namespace": namespace, "output": "screen", "arguments": logging}
    node = LifecycleNode(
        package=PACKAGE,
        executable="perception_node",
        name=NODE,
        respawn=_is_true(context, "respawn"),
        respawn_delay=2.0,
        # autostart by the node and not by the launch action, whose own Humble does not have.
        parameters=[_parameters(), simulated, {"autostart": _is_true(context, "autostart")}],
        remappings=_inputs(context),
        **own,
    )
    actions: list[Any] = [*_replay(node, bag), node]
    outputs = f"/{namespace}/{NODE}" if namespace else f"/{NODE}"
    if _is_true(context, "grasps"):
        actions.append(
            Node(
                package=PACKAGE,
                executable="antipodal_grasp_node",
                name="antipodal_grasps",
                parameters=[_parameters(), simulated],
                remappings=[("points", f"{outputs}/points")],
                **own,
            )
        )
    if _is_true(context, "use_rviz"):
        actions.append(
            Node(
                package="rviz2",
                executable="rviz2",
                arguments=["-d", _value(context, "rviz_config"), "-f", _value(context, "rviz_frame")],
                parameters=[simulated],
                remappings=[(topic, f"/{namespace}{topic}") for topic in SHOWN] if namespace else [],
            )
        )
    return actions


def _replay(node: LifecycleNode, bag: str) -> list[Any]:
    """Before the node is active nobody would listen: the model takes seconds to load."""
    if not bag:
        return []
    play = ExecuteProcess(cmd=["ros2", "bag", "play", bag, "--clock", "100", "--delay", BAG_DELAY], output="screen")
    when_active = OnStateTransition(
        target_lifecycle_node=node,
        goal_state="active",
        entities=[play],
        handle_once=True,  # somebody may deactivate and activate the node again
    )
    return [RegisterEventHandler(when_active)]


def _parameters() -> ParameterFile:
    return ParameterFile(LaunchConfiguration("params_file"), allow_substs=True)


def _inputs(context: LaunchContext) -> list[tuple[str, str]]:
    image, depth = _value(context, "image_topic"), _value(context, "depth_topic")
    return [
        ("image", image),
        ("image/compressed", f"{image}/compressed"),
        ("camera_info", _value(context, "camera_info_topic")),
        ("depth", depth),
        ("depth/compressedDepth", f"{depth}/compressedDepth"),
        ("depth/camera_info", _value(context, "depth_camera_info_topic")),
        ("mask", _value(context, "mask_topic")),
    ]
