"""Whether the confidence is what it says: among pixels that are believed to 0.8, 80 % should be right.

A pixel is right if its depth is off by at most ``RIGHT`` of the true one. Counted frame by frame into bins, so memory
does not grow with the recording. Pixels without a depth or without a ground truth in range do not count.

* ECE: mean over pixels of |confidence - share of right pixels| of their bin, in ``BINS`` equal bins;
* Brier: mean of (confidence - right)^2;
* AUROC: how often a right pixel is believed more than a wrong one, ties half (0.5 is chance); from ``FINE`` bins.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dkt_ros.confidence import RIGHT
from dkt_ros.evaluation.metrics import Mask
from dkt_ros.frames import PROVENANCE_INFERRED, PROVENANCE_MEASURED, Float32, UInt8

#: Bins of the diagram and of the ECE, and those that are counted.
BINS, FINE = 20, 1000
#: So far mean confidence and share of right pixels of a group may lie apart before it is said in a sentence.
ASTRAY = 0.10
GROUPS = ("all", "measured", "inferred", "glass", "glass measured", "glass inferred")
#: Beside "all", the groups of pixels by provenance (measured, inferred) and, within, material (other, glass).
_CELLS = (
    ("measured",),
    ("measured", "glass", "glass measured"),
    ("inferred",),
    ("inferred", "glass", "glass inferred"),
)
IN_WORDS = (
    f"confidence is meant to be the probability that a pixel's depth is right: within {RIGHT:.0%} of the truth,"
    f" |z - truth| <= {RIGHT:g} truth, which is another measure than d1.05, a factor of 1.05 either way; ECE over"
    f" {BINS} equal bins, Brier = mean of (confidence - right)^2, AUROC of right against wrong pixels; all videos'"
    " pixels together"
)


class Reliability:
    """Counts of pixels by confidence, for every group of ``GROUPS``."""

    def __init__(self) -> None:
        # of every bin: pixels, right ones, and the sums of confidence, its square, and itself over right pixels
        self._counts: NDArray[np.float64] = np.zeros((len(GROUPS), FINE, 5))

    def add(
        self,
        confidence: Float32,
        depth: Float32,
        provenance: UInt8,
        truth: Float32,
        valid: Mask,
        transparent: Mask,
    ) -> None:
        """Count one frame; all arrays (H, W).

        Args:
            confidence: 0..1.
            depth, truth: metres, NaN where unknown.
            provenance: ``frames.PROVENANCE_*``.
            valid: where the ground truth counts.
            transparent: ground truth.
        """
        known = (provenance == PROVENANCE_MEASURED) | (provenance == PROVENANCE_INFERRED)
        scored = np.flatnonzero(valid & np.isfinite(depth) & known)
        if scored.size == 0:
            return
        answered, true = depth.reshape(-1)[scored], truth.reshape(-1)[scored]
        right = (np.abs(answered - true) <= RIGHT * true).astype(np.float64)
        believed = confidence.reshape(-1)[scored].astype(np.float64)
        index = np.clip((believed * FINE).astype(int), 0, FINE - 1)
        inferred = provenance.reshape(-1)[scored] == PROVENANCE_INFERRED
        index += FINE * (2 * inferred + transparent.reshape(-1)[scored].astype(bool))
        values = (np.ones_like(believed), right, believed, np.square(believed), believed * right)
        counted = np.stack([np.bincount(index, v, 4 * FINE) for v in values], axis=1).reshape(4, FINE, 5)
        for cell, names in enumerate(_CELLS):
            for group in ("all", *names):
                self._counts[GROUPS.index(group)] += counted[cell]

    @staticmethod
    def of(parts: Iterable[Reliability | None]) -> Reliability:
        """All of them together."""
        result = Reliability()
        for part in parts:
            if part is not None:
                result._counts += part._counts
        return result

    def numbers(self, bins: bool = True) -> dict[str, dict[str, Any]]:
        """Plain values by group: pixels, right (share), confidence (mean), ece, brier, auroc; None where there are no
        pixels, AUROC also where all are right or all wrong. ``bins`` adds those of the diagram that hold pixels."""
        return {group: self._numbers(counts, bins) for group, counts in zip(GROUPS, self._counts, strict=True)}

    @staticmethod
    def _numbers(counts: NDArray[np.float64], bins: bool) -> dict[str, Any]:
        pixels, right, believed, square, both = counts.sum(axis=0)
        result: dict[str, Any] = {"pixels": int(pixels), "right": None, "confidence": None}
        result |= {"ece": None, "brier": None, "auroc": None}
        if pixels:
            rows = _diagram(counts)
            result["right"], result["confidence"] = right / pixels, believed / pixels
            result["ece"] = float(np.abs(rows[:, 0] - rows[:, 1]) @ rows[:, 2] / pixels)
            result["brier"] = (square - 2 * both + right) / pixels
            result["auroc"] = _auroc(counts[:, 1], counts[:, 0] - counts[:, 1])
            if bins:
                names = ("confidence", "right", "pixels")
                result["bins"] = [dict(zip(names, row, strict=True)) for row in rows.tolist()]
        return result


def in_a_line(numbers: dict[str, dict[str, Any]]) -> str:
    """The numbers of the groups that matter most; "" if no pixel counts."""
    parts = [
        f"{group} ECE {100 * found['ece']:.1f} %, Brier {found['brier']:.3f},"
        f" AUROC {'-' if found['auroc'] is None else format(found['auroc'], '.3f')}"
        for group in ("all", "measured", "inferred", "glass", "glass measured")
        if (found := numbers[group])["pixels"]
    ]
    return f"confidence as P(within {RIGHT:.0%}): {'; '.join(parts)}" if parts else ""


def astray(numbers: Mapping[str, Any]) -> list[str]:
    """A sentence for each group that is believed by more than ``ASTRAY`` too much or too little.

    Args:
        numbers: as ``Reliability.numbers`` gives them; what else they hold is passed over.
    """
    sentences = []
    for group in GROUPS:
        found = numbers.get(group) or {}
        if not found.get("pixels") or abs(apart := found["confidence"] - found["right"]) <= ASTRAY:
            continue
        order = (
            ""
            if found["auroc"] is None
            else f", and the order of its pixels has AUROC {found['auroc']:.2f} (0.5: chance)"
        )
        sentences.append(
            f'Do not read the confidence of the {found["pixels"]:,} pixels of "{group}" as a probability: it is'
            f" {found['confidence']:.1%} in the mean, but {found['right']:.1%} are right. It promises too"
            f" {'much' if apart > 0 else 'little'} there{order}."
        )
    return sentences


def _diagram(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    coarse = counts.reshape(BINS, FINE // BINS, 5).sum(axis=1)
    coarse = coarse[coarse[:, 0] > 0]
    return np.stack([coarse[:, 2] / coarse[:, 0], coarse[:, 1] / coarse[:, 0], coarse[:, 0]], axis=1)


def _auroc(right: NDArray[np.float64], wrong: NDArray[np.float64]) -> float | None:
    """Of pixels in bins of ascending confidence; two of one bin count half."""
    pairs = right.sum() * wrong.sum()
    if not pairs:
        return None
    below = np.cumsum(wrong) - wrong
    return float(right @ (below + 0.5 * wrong) / pairs)
