"""Start the perception node beside an OAK camera, and its driver depthai_ros_driver if asked for.

    ros2 launch dkt_ros depthai.launch.py start_camera:=true
    ros2 launch dkt_ros depthai.launch.py start_camera:=true rs_compat:=true     (the driver's RealSense names)

Topic names of depthai-ros 2.10: rgb/image_rect (made by image_proc) and stereo/image_raw (16UC1 mm, aligned to rgb).
Its generation 3 is driver_package:=depthai_ros_driver_v3 driver_launch:=driver.launch.py on Humble and Jazzy; set the
topics then if `ros2 topic list` shows others.
"""

from __future__ import annotations

from launch import LaunchDescription
from launch.substitutions import LaunchConfiguration, PythonExpression

from dkt_ros.launching import Camera, Driver, describe

NAME, COMPATIBLE = LaunchConfiguration("camera_name"), LaunchConfiguration("rs_compat")


def either(compatible: str, own: str) -> PythonExpression:
    """One text with rs_compat, another without; NAME in it is the camera's name."""
    parts = own.split("NAME")
    return PythonExpression(
        [f"'{compatible}' if '", COMPATIBLE, "'.lower() == 'true' else '", parts[0], NAME, parts[1], "'"]
    )


def generate_launch_description() -> LaunchDescription:
    """See the module."""
    return describe(
        Camera(
            image=[either("/camera/camera/color/image_rect", "/NAME/rgb/image_rect")],
            camera_info=[either("/camera/camera/color/camera_info", "/NAME/rgb/camera_info")],
            depth=[either("/camera/camera/depth/image_rect_raw", "/NAME/stereo/image_raw")],
            depth_camera_info=[either("/camera/camera/depth/camera_info", "/NAME/stereo/camera_info")],
            optical_frame=[either("camera_color_optical_frame", "NAME_rgb_camera_optical_frame")],
            arguments=(
                ("camera_name", "oak", "the driver's `name`; with rs_compat leave it"),
                ("rs_compat", "false", "the driver's: topics and frames under RealSense's names"),
                ("driver_package", "depthai_ros_driver", "package of the driver"),
                ("driver_launch", "camera.launch.py", "its launch file"),
            ),
            driver=Driver(
                package=LaunchConfiguration("driver_package"),
                launch_file=LaunchConfiguration("driver_launch"),
                arguments={
                    "name": NAME,
                    "rs_compat": COMPATIBLE,
                    "rectify_rgb": "true",
                    "pointcloud.enable": "true",  # what makes it stamp colour and depth alike
                },
                install="sudo apt install ros-$ROS_DISTRO-depthai-ros",
            ),
        )
    )
