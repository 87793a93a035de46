#!/bin/bash
# ROS, the environment with torch and this package, then the command; exec, so that signals reach it.
set -e
source "/opt/ros/${ROS_DISTRO}/setup.bash"
source /opt/dkt/bin/activate
source /opt/dkt_ros/setup.bash
exec "$@"
