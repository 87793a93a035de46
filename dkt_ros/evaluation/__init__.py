"""Scores: metrics, protocols, baselines, sources of ground truth, reports. Runs without ROS and without torch."""
