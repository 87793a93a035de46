"""The bundled engine: small enough for two CPU cores. ``CARD.md`` says what it was trained on and where it fails."""

from __future__ import annotations

from pathlib import Path

from dkt_ros.engines import Engine, EngineCard, EngineOptions

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
        "Completes the depth of glass, clear plastic and metal on tables, trays and shelves, in bins and sinks, at "
        "160x96 on two CPU cores. Trained for about two hours on our own Blender renders with a simulated D4xx sensor, "
        "and on nothing real. It leans on the sensor where the sensor is right; without one it knows little more than "
        "the layout."
    ),
)


def load(options: EngineOptions) -> Engine:
    """Read the bundled weights. On a busy machine one thread is often faster than two.

    Raises:
        ValueError: an option that this engine does not have.
        FileNotFoundError, CheckpointError: the installation is damaged.
    """
    from dkt_ros.engines.completion import CompletionEngine, load_completion_model
    from dkt_ros.engines.threads import use_threads

    options.refuse(
        "nano",
        *("weights", "profile", "steps", "mode", "device", "precision", "vae", "compiled", "stitching", "normals_axes"),
    )
    use_threads(options.threads)
    return CompletionEngine(load_completion_model(WEIGHTS), CARD, AREA, TOGETHER)
