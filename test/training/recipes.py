"""A recipe of the task "nano" that a test can afford, and data for it."""

from dkt_ros.training.sequences import save_sequence, sequence_path
from test.engines.tiny import SIZES
from test.training.toy import toy_sequence

PHASES = [
    {
        "name": "codec", "trains": "codec", "validate": False, "steps": 12, "rate": [5e-3, 5e-3], "warmup": 10,
        "frames": {1: 1.0},
    },
    {
        "name": "completion", "trains": "all", "steps": 28, "rate": [3e-3, 3e-3], "warmup": 10,
        "frames": {1: 0.8, 5: 0.2},
    },
]  # fmt: skip
VALUES = {
    "task": "nano", "seed": 1, "precision": "float32", "validate_every": 20, "save_every": 10, "ema": 0.9,
    "optimiser": {"weight_decay": 0.01, "betas": [0.9, 0.95]}, "validation": {"frames": 5, "pictures": 1},
    "model": {**SIZES, "clip_lengths": [1, 5], "together": True, "area": 32 * 48},
    "phases": PHASES, "data": {"clips_per_step": {1: 4, 5: 1}},
}  # fmt: skip


def toy_data(root):
    """A folder with train/ (two sequences) and val/ (one), all of boxes over a slanted wall."""
    for part, seeds in (("train", (1000, 1001)), ("val", (9000,))):
        for seed in seeds:
            save_sequence(sequence_path(root / part, seed), toy_sequence(seed))
    return root
