"""The bundled engine: small enough for two CPU cores. ``CARD.md`` says what it was trained on and where it fails."""

from __future__ import annotations

from pathlib import Path

from dkt_ros.engines import Engine, EngineCard

WEIGHTS = Path(__file__).parent / "nano.safetensors"
#: Pixels of a working picture: 160x96 for 5:3, 136x104 for 4:3
AREA = 160 * 96
#: These weights were trained almost only on single frames, and are better on them than on clips.
TOGETHER = False

CARD = EngineCard(
    name="nano",
    kind="affine",
    clip_lengths=(1, 5, 9, 13),
    reads_sensor_depth=True,
    gives_normals=True,
    licence="Apache-2.0",
    description=(
        "Completes the depth of table-top scenes with glass, clear plastic and metal at 160x96 on two CPU cores. "
        "Trained for about an hour on our own Blender renders with a simulated D4xx sensor, and on nothing real. It "
        "leans on the sensor where the sensor is right; without a sensor it knows little more than the layout."
    ),
)


def load(threads: int | None = None) -> Engine:
    """Read the bundled weights.

    Args:
        threads: CPU threads of torch, for the whole process; None leaves torch's own choice. On a busy machine 1 is
            often faster than 2.

    Raises:
        FileNotFoundError, CheckpointError: the installation is damaged.
    """
    import torch

    from dkt_ros.engines.completion import CompletionEngine, load_completion_model

    if threads is not None:
        if threads < 1:
            raise ValueError(f"threads = {threads}: must be at least 1")
        torch.set_num_threads(threads)
    return CompletionEngine(load_completion_model(WEIGHTS), CARD, AREA, TOGETHER)
