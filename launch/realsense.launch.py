"""Start the perception node beside a RealSense camera, and its driver realsense2_camera if asked for.

    ros2 launch dkt_ros realsense.launch.py start_camera:=true
    ros2 launch dkt_ros realsense.launch.py camera_name:=wrist        (the driver runs already, with align_depth)

Topic names, encodings (rgb8; 16UC1 mm) and arguments of the driver: realsense-ros 4.5x, rs_launch.py.
"""

from __future__ import annotations

from launch import LaunchDescription
from launch.substitutions import LaunchConfiguration

from dkt_ros.launching import Camera, Driver, describe

NAMESPACE, NAME = LaunchConfiguration("camera_namespace"), LaunchConfiguration("camera_name")
ROOT = ("/", NAMESPACE, "/", NAME)


def generate_launch_description() -> LaunchDescription:
    """See the module."""
    return describe(
        Camera(
            image=[*ROOT, "/color/image_raw"],
            camera_info=[*ROOT, "/color/camera_info"],
            depth=[*ROOT, "/aligned_depth_to_color/image_raw"],
            depth_camera_info=[*ROOT, "/aligned_depth_to_color/camera_info"],
            optical_frame=[NAME, "_color_optical_frame"],
            arguments=(
                ("camera_name", "camera", "the driver's"),
                ("camera_namespace", "camera", "the driver's"),
                ("color_profile", "0,0,0", "the driver's: 848x480x30, say; 0,0,0 is its own choice"),
            ),
            driver=Driver(
                package="realsense2_camera",
                launch_file="rs_launch.py",
                arguments={
                    "camera_name": NAME,
                    "camera_namespace": NAMESPACE,
                    "align_depth.enable": "true",
                    "enable_sync": "true",
                    "rgb_camera.color_profile": LaunchConfiguration("color_profile"),
                },
                install="sudo apt install ros-$ROS_DISTRO-realsense2-camera",
            ),
        )
    )
