"""Trials of simulated grasping as a table: success by source of depth and group of materials, with intervals."""

from __future__ import annotations

from collections import Counter
from typing import Any

Trial = dict[str, Any]

GROUP_ORDER = ("transparent", "mirror-like", "ordinary")
ALL = "all"


def interval(held: int, count: int) -> tuple[float, float]:
    """95 % Wilson score interval of a share; (0, 1) without trials."""
    from scipy.stats import binomtest

    if not count:
        return 0.0, 1.0
    found = binomtest(held, count).proportion_ci(method="wilson")
    return float(found.low), float(found.high)


def cell(trials: list[Trial]) -> dict[str, Any]:
    """Counts, share, interval and the reasons of the failures."""
    held = sum(trial["held"] for trial in trials)
    reasons = Counter(trial["reason"] for trial in trials if not trial["held"])
    return {
        "held": held,
        "trials": len(trials),
        "success": held / len(trials) if trials else None,
        "interval": interval(held, len(trials)),
        "reasons": dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))),
    }


def paired(trials: list[Trial], one: str, other: str) -> dict[str, Any]:
    """Objects that only one of two sources held, and the two-sided exact McNemar probability of such a difference."""
    from scipy.stats import binomtest

    by_source: dict[str, dict[tuple[int, int], bool]] = {one: {}, other: {}}
    for trial in trials:
        if trial["source"] in by_source:
            by_source[trial["source"]][trial["seed"], trial["object"]] = trial["held"]
    pairs = [(held, by_source[other][key]) for key, held in by_source[one].items()]
    only_one, only_other = sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs)
    apart = only_one + only_other
    return {"only": [only_one, only_other], "p": float(binomtest(only_one, apart).pvalue) if apart else 1.0}


def summary(scenes: list[dict[str, Any]]) -> dict[str, Any]:
    """{"cells": source -> group -> ``cell``, "left out": why -> objects, "scenes with trials": count}."""
    trials = [trial for scene in scenes for trial in scene["trials"]]
    sources = list(dict.fromkeys(trial["source"] for trial in trials))
    cells = {
        source: {
            group: cell([t for t in trials if t["source"] == source and group in (ALL, t["group"])])
            for group in (*GROUP_ORDER, ALL)
        }
        for source in sources
    }
    left_out: Counter[str] = Counter()
    for scene in scenes:
        left_out.update(scene["left out"])
    ours = next((source for source in sources if source.startswith("ours")), None)
    against = {other: paired(trials, ours, other) for other in sources if ours and other != ours}
    count = sum(bool(scene["trials"]) for scene in scenes)
    return {"cells": cells, "ours against": against, "left out": dict(left_out), "scenes with trials": count}


def markdown(report: dict[str, Any]) -> str:
    """The table, what failed why, and the comparison in pairs."""
    lines = ["| depth | " + " | ".join((*GROUP_ORDER, ALL)) + " |", "|---" * (len(GROUP_ORDER) + 2) + "|"]
    for source, groups in report["cells"].items():
        lines.append(f"| {source} | " + " | ".join(_share(groups[group]) for group in (*GROUP_ORDER, ALL)) + " |")
    lines += ["", "Success of trials, 95 % Wilson interval, held / trials.", "", "| depth | failures |", "|---|---|"]
    for source, groups in report["cells"].items():
        reasons = ", ".join(f"{reason} {count}" for reason, count in groups[ALL]["reasons"].items())
        lines.append(f"| {source} | {reasons} |")
    lines.append("")
    for other, pair in report["ours against"].items():
        only, not_ours = pair["only"]
        lines.append(f"* only ours held {only}, only {other} {not_ours} (exact McNemar p = {pair['p']:.2g})")
    left_out = ", ".join(f"{reason} {count}" for reason, count in report["left out"].items())
    lines += ["", f"{report['scenes with trials']} scenes; objects left out: {left_out}."]
    return "\n".join(lines) + "\n"


def _share(cell: dict[str, Any]) -> str:
    if not cell["trials"]:
        return "no trials"
    low, high = cell["interval"]
    return f"{cell['success']:.2f} ({low:.2f}–{high:.2f}), {cell['held']}/{cell['trials']}"
