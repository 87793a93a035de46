"""Which device and which precision an engine uses."""

from __future__ import annotations

import torch

from dkt_ros.choices import PRECISIONS
from dkt_ros.engines import EngineOptions


def chosen(options: EngineOptions) -> tuple[torch.device, torch.dtype]:
    """The user's device and precision; by default a GPU in bfloat16 where there is one, else the CPU in float32.

    Raises:
        ValueError: the device is none of torch's, or not in this machine; or no such precision.
    """
    gpu = torch.cuda.is_available()
    try:
        device = torch.device(options.device or ("cuda" if gpu else "cpu"))
    except RuntimeError as error:
        raise ValueError(f"device = {options.device}: no such device; choose cpu, cuda or cuda:N") from error
    if device.type == "cuda" and (not gpu or (device.index or 0) >= torch.cuda.device_count()):
        raise ValueError(
            f"device = {options.device}: torch sees {torch.cuda.device_count() if gpu else 0} CUDA devices here; "
            "choose another, or cpu"
        )
    if options.precision is None:
        return device, torch.bfloat16 if device.type == "cuda" else torch.float32
    if options.precision not in PRECISIONS:
        raise ValueError(f"precision = {options.precision}: choose one of {', '.join(PRECISIONS)}")
    return device, getattr(torch, options.precision)
