"""Start the perception node beside any camera.

    ros2 launch dkt_ros perception.launch.py image_topic:=/robot/rgb/image camera_info_topic:=/robot/rgb/camera_info \
        depth_topic:=/robot/depth/image

The defaults are the topics of realsense-ros. For a camera family there is realsense.launch.py, zed.launch.py,
depthai.launch.py and orbbec.launch.py; `ros2 launch dkt_ros FILE --show-args` lists the arguments.
"""

from __future__ import annotations

from launch import LaunchDescription
from launch.substitutions import LaunchConfiguration

from dkt_ros.launching import Camera, describe

ROOT = ("/camera/", LaunchConfiguration("camera_name"))


def generate_launch_description() -> LaunchDescription:
    """No driver: the camera runs already, or a bag is replayed."""
    return describe(
        Camera(
            image=[*ROOT, "/color/image_raw"],
            camera_info=[*ROOT, "/color/camera_info"],
            depth=[*ROOT, "/aligned_depth_to_color/image_raw"],
            depth_camera_info=[*ROOT, "/aligned_depth_to_color/camera_info"],
            optical_frame=[LaunchConfiguration("camera_name"), "_color_optical_frame"],
            arguments=(("camera_name", "camera", "part of the topics' default names: /camera/CAMERA_NAME/..."),),
        )
    )
