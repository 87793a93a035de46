"""Start the perception node beside a ZED camera, and its driver zed_wrapper if asked for.

    ros2 launch dkt_ros zed.launch.py start_camera:=true camera_model:=zed2i

Topic names of zed-ros2-wrapper 5 (rgb/color/rect/image; depth/depth_registered in 32FC1 m, registered to it). Its
older releases call the image rgb/image_rect_color: set image_topic and camera_info_topic then.
"""

from __future__ import annotations

from launch import LaunchDescription
from launch.substitutions import LaunchConfiguration

from dkt_ros.launching import Camera, Driver, describe

NAME = LaunchConfiguration("camera_name")
ROOT = ("/", NAME, "/zed_node")


def generate_launch_description() -> LaunchDescription:
    """See the module."""
    return describe(
        Camera(
            image=[*ROOT, "/rgb/color/rect/image"],
            camera_info=[*ROOT, "/rgb/color/rect/camera_info"],
            depth=[*ROOT, "/depth/depth_registered"],
            depth_camera_info=[*ROOT, "/depth/camera_info"],
            optical_frame=[NAME, "_left_camera_frame_optical"],
            arguments=(
                ("camera_name", "zed", "the driver's"),
                ("camera_model", "", "the driver's, such as zed2i; needed with start_camera"),
            ),
            driver=Driver(
                package="zed_wrapper",
                launch_file="zed_camera.launch.py",
                arguments={"camera_name": NAME, "camera_model": LaunchConfiguration("camera_model")},
                install="build https://github.com/stereolabs/zed-ros2-wrapper",
            ),
        )
    )
