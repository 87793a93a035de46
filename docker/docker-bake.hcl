# docker buildx bake -f docker/docker-bake.hcl            all distros, CPU
# docker buildx bake -f docker/docker-bake.hcl jazzy-cuda
# Kilted's support ends in November 2026: no target, but docker build --build-arg ROS_DISTRO=kilted works as long as its
# base image is offered.
variable "CUDA_INDEX" {
  default = "https://download.pytorch.org/whl/cu128"
}

group "default" {
  targets = ["humble", "jazzy", "lyrical"]
}

target "_common" {
  context    = "."
  dockerfile = "docker/Dockerfile"
}

target "cpu" {
  inherits = ["_common"]
  name     = distro
  matrix   = { distro = ["humble", "jazzy", "lyrical"] }
  args     = { ROS_DISTRO = distro }
  tags     = ["dkt_ros:${distro}"]
}

target "cuda" {
  inherits = ["_common"]
  name     = "${distro}-cuda"
  matrix   = { distro = ["humble", "jazzy", "lyrical"] }
  args     = { ROS_DISTRO = distro, TORCH_INDEX = CUDA_INDEX }
  tags     = ["dkt_ros:${distro}-cuda"]
}
