"""``validate``: read every sequence of a folder whole, check it, and set its sensor depth beside a real sensor's."""

from __future__ import annotations

import sys
from pathlib import Path

from tqdm import tqdm

from dkt_ros.training.render.job import JOB_FILE
from dkt_ros.training.render.sensor_statistics import (
    LEGEND,
    SensorStatistics,
    sequence_statistics,
    statistics_table,
)
from dkt_ros.training.render.validate import check_sequence
from dkt_ros.training.sequences import SequenceError, load_sequence, sequence_files


def validate(folder: Path) -> int:
    """Name the bad sequences and print the table; returns the exit status.

    Changes nothing: deleting a bad file is left to who looks at it. Where there is a job, ``dataset`` then renders its
    seed again.
    """
    files = sequence_files(folder)
    if not files:
        print(f"{folder}: no SSSSSS.tar in it; render some with dataset --out {folder}", file=sys.stderr)
        return 2
    rows: list[SensorStatistics] = []
    bad = 0
    for path in tqdm(files, unit="sequence", disable=None):
        try:
            sequence = load_sequence(path)
            faults = [f"{path}: {fault}" for fault in check_sequence(sequence)]
        except (SequenceError, OSError) as error:
            faults = [str(error)]
        if faults:
            bad += 1
            tqdm.write("\n".join(faults), file=sys.stderr)
        else:
            rows += sequence_statistics(sequence)
    if rows:
        print(f"{statistics_table(rows)}\n\n{LEGEND}\n")
    remedy = ""
    if bad:
        again = (folder / JOB_FILE).exists()
        remedy = f"; delete those{f', then `dataset --out {folder}` renders them again' if again else ''}"
    print(f"{folder}: {len(files) - bad} good, {bad} bad{remedy}")
    return 1 if bad else 0
