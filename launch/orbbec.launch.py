"""Start the perception node beside an Orbbec camera, and its driver orbbec_camera if asked for.

    ros2 launch dkt_ros orbbec.launch.py start_camera:=true driver_launch:=gemini_330_series.launch.py

Topic names of OrbbecSDK_ROS2 2.6: color/image_raw and depth/image_raw (16UC1 mm), which depth_registration lays over
the colour image.
"""

from __future__ import annotations

from launch import LaunchDescription
from launch.substitutions import LaunchConfiguration

from dkt_ros.launching import Camera, Driver, describe

NAME = LaunchConfiguration("camera_name")


def generate_launch_description() -> LaunchDescription:
    """See the module."""
    return describe(
        Camera(
            image=["/", NAME, "/color/image_raw"],
            camera_info=["/", NAME, "/color/camera_info"],
            depth=["/", NAME, "/depth/image_raw"],
            depth_camera_info=["/", NAME, "/depth/camera_info"],
            optical_frame=[NAME, "_color_optical_frame"],
            arguments=(
                ("camera_name", "camera", "the driver's"),
                ("driver_launch", "gemini_330_series.launch.py", "the driver's launch file, one per series"),
            ),
            driver=Driver(
                package="orbbec_camera",
                launch_file=LaunchConfiguration("driver_launch"),
                arguments={"camera_name": NAME, "depth_registration": "true"},
                install="build https://github.com/orbbec/OrbbecSDK_ROS2",
            ),
        )
    )
