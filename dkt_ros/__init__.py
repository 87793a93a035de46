"""Metric depth, normals and point clouds of transparent things, for ROS 2."""

__version__ = "0.1.0"
