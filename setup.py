"""Metadata lives here and not in pyproject.toml: the setuptools of ROS 2 Humble (59.6) reads no [project] table."""

from glob import glob
from pathlib import Path

from setuptools import find_packages, setup

NAME = "dkt_ros"

#: As much of colcon as builds an ament_python package; the tests build this one with it.
COLCON = [
    f"colcon-{part}"
    for part in (
        "core",
        "library-path",
        "metadata",
        "package-information",
        "package-selection",
        "python-setup-py",
        "recursive-crawl",
        "ros",
    )
]

setup(
    name=NAME,
    version="0.1.0",
    description="Metric depth, normals and point clouds of transparent things, for ROS 2",
    long_description=Path("README.md").read_text() if Path("README.md").exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    maintainer="dkt_ros maintainers",
    maintainer_email="maintainers@users.noreply.github.com",
    python_requires=">=3.10",
    # dkt_ros/training is a link to training/, which find_packages follows.
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={
        NAME: ["resources/*", "resources/*/*", "py.typed"],
        f"{NAME}.engines.nano": ["*.safetensors", "*.md", "*.png", "*.yaml"],
        f"{NAME}.training": ["recipes/*.yaml"],
        f"{NAME}.training.render": ["*.txt", "recipes/*.yaml"],
    },
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/launch", glob("launch/*.launch.py")),
        (f"share/{NAME}/config", sorted(glob("config/*"))),
    ],
    zip_safe=False,
    # rclpy and the message packages come from the ROS install or its wheels, never from here: on the Python index
    # some of those names belong to others.
    install_requires=[
        "numpy",
        "opencv-python-headless",
        "safetensors",
        "huggingface_hub>=1,<3",  # dkt models fetch; diffusers brings it along
        "torch>=2.6",
        "diffusers>=0.41,<0.43",
        "rosbags>=0.11",  # opens a storage file without metadata.yaml
        'backports.zstd; python_version < "3.14"',  # what rosbags reads zstd with
        "PyYAML",
        "tqdm",
        "matplotlib",
        "jinja2",  # report.html; torch brings it along
        "pillow",  # its pictures; matplotlib brings it along
    ],
    extras_require={
        "ros": [
            "ros-rclpy[fastrtps]",
            "ros-sensor-msgs",
            "ros-std-srvs",
            "ros-diagnostic-msgs",
            "ros-geometry-msgs",
            "ros-visualization-msgs",  # ~/markers of the grasp node
        ],
        "view": ["open3d"],
        "eval": ["OpenEXR", "scipy"],  # EXR, which OpenCV 5's wheels cannot read, and ClearPose's MATLAB files
        # The text encoder that makes a prompt's embedding once, and DepthLab's image encoder and linear fill.
        "models": ["transformers>=5,<6", "sentencepiece", "scipy"],
        # The user's own meshes for the renderer, and the vision-language model that says what they are made of.
        "meshes": ["trimesh"],
        "vlm": ["transformers>=5,<6", "trimesh"],
        "train": ["accelerate", "peft", "tensorboard", "h5py", "OpenEXR"],  # the last two to read published sets
        "grasp": ["mujoco", "scipy"],  # benchmarks.grasp_trials: grasps carried out in simulation
        "cluster": ["ray"],  # dkt_ros.training.render dataset --cluster
        "test": [
            *("pytest", "pytest-xdist", "hypothesis", "ruff", "mypy", "types-PyYAML", "catkin_pkg", "setuptools"),
            *COLCON,
        ],
    },
    entry_points={
        "console_scripts": [
            f"perception_node = {NAME}.node:main",
            f"antipodal_grasp_node = {NAME}.grasp_node:main",
            f"dkt = {NAME}.cli:main",
        ],
    },
)
