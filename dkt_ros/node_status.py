"""What the node tells diagnostics about itself."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

from dkt_ros.node_diagnostics import Snapshot, StallMeter, Statistics, stall_values
from dkt_ros.node_inputs import CameraInputs
from dkt_ros.node_pipeline import Pipeline
from dkt_ros.node_topics import pictures_elsewhere
from dkt_ros.qos import reader_mismatches


def take_snapshot(
    node: Any,
    state: str,
    phase: str,
    trouble: str,
    statistics: Statistics,
    pipeline: Pipeline | None,
    meter: StallMeter,
    remarks: tuple[str, ...] = (),
) -> Snapshot:
    """The node at this moment.

    Args:
        node: the rclpy node.
        state: of its lifecycle.
        phase: what keeps it busy beside its work; "" if nothing does.
        trouble: what a person has to mend; "" if nothing.
        statistics: of this run.
        pipeline: None unless configured.
        meter: of the executor that runs this.
        remarks: see ``Snapshot``.
    """
    known: dict[str, Any] = {}
    if pipeline is not None:
        phase = "the model warms up" if pipeline.warming_up else phase
        trouble = pipeline.trouble or trouble
        known = _of_pipeline(node, pipeline)
    if pipeline is not None and pipeline.inputs is not None:
        known |= _of_inputs(node, pipeline.inputs)
    return Snapshot(
        state=state,
        phase=phase,
        trouble=trouble,
        statistics=statistics,
        name=node.get_fully_qualified_name(),
        topics={name: node.resolve_topic_name(name) for name in ("image", "camera_info", "depth")},
        ignores_depth=not node.get_parameter("use_sensor_depth").value,
        drops=statistics.counts()[0] + (pipeline.drops() if pipeline else Counter()),
        clock_stands=node.get_parameter("use_sim_time").value and not node.get_clock().now().nanoseconds,
        remarks=remarks,
        values=_values(node, statistics, pipeline) | stall_values(meter),
        **known,
    )


def _of_pipeline(node: Any, pipeline: Pipeline) -> dict[str, Any]:
    return {
        "wanted": pipeline.wanted(),
        "reader_mismatches": tuple(reader_mismatches(node, pipeline.publishers)),
        "waiting": pipeline.waiting,
        "needed": pipeline.buffer.needed,
        "clip_s": sum(pipeline.clip_seconds.values()),
        "max_age_s": pipeline.buffer.max_age_s,
        "fit": pipeline.perception.last_fit,
    }


def _of_inputs(node: Any, inputs: CameraInputs) -> dict[str, Any]:
    publishers = inputs.image_publishers()
    return {
        "image_publishers": publishers,
        "pictures_elsewhere": () if publishers else pictures_elsewhere(node, inputs.topics()),
        "depth_publishers": inputs.depth_publishers(),
        "input_mismatches": inputs.mismatches(),
        "has_camera": inputs.has_camera,
    }


def _values(node: Any, statistics: Statistics, pipeline: Pipeline | None) -> dict[str, str]:
    values = pipeline.inputs.described() if pipeline and pipeline.inputs else {}
    if statistics.last_stamp is not None:
        age = node.get_clock().now().nanoseconds - statistics.last_stamp
        values["age (s)"] = f"{age * 1e-9:.3f}"
    if pipeline is not None:
        values |= _model_values(node, pipeline)
        buffer = pipeline.buffer
        values |= {
            "mode": buffer.mode,
            "queue": str(buffer.capacity),
            "max age (s)": f"{buffer.max_age_s:g}",
            "clip length": str(buffer.length),
            "overlap": str(buffer.overlap),
            "incomplete clips": str(buffer.incomplete),
            **{f"readers/{name}": str(count) for name, count in pipeline.readers.items()},
            **{f"seconds/{stage}": f"{spent:.4f}" for stage, spent in pipeline.clip_seconds.items()},
        }
    return values


def _model_values(node: Any, pipeline: Pipeline) -> dict[str, str]:
    engine = pipeline.perception.engine
    device = str(getattr(engine, "device", "cpu"))
    usual = "float32" if device == "cpu" else "bfloat16"
    torch: Any = sys.modules.get("torch")  # never imported for this
    return {
        "model": engine.card.name,
        "device": device,
        "precision": node.get_parameter("precision").value or usual,
        "threads": str(torch.get_num_threads()) if torch is not None else "none",
        "normals": pipeline.normals_source,
    }
