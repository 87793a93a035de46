"""How a node kept up with what was replayed to it: rates, ages, drops. No ROS in here."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from dkt_ros.exchange import Exchange


@dataclass(frozen=True)
class Timing:
    """How the node kept up.

    Attributes:
        sent, answered: pictures published and those that an estimate came back for.
        rate_in_hz: of the pictures; 0 for fewer than two.
        rate_out_hz: answered pictures over the time from the first picture sent to the last answer.
        age_median_s, age_p95_s, age_max_s: from publishing a picture to receiving the first of its depth and its
            disparity, over DDS both ways; p95 by nearest rank.
        drops: by reason, as the node counted them in its diagnostics; and what was lost between the node and the
            replay, either way.
        waiting: pictures that still waited for a full clip when the recording ended.
        incomplete_clips: clips that went before they were full, for the sake of the node's ``max_age``. Without these
            and without drops the node has seen the clips of the path in this process, and said the same.
    """

    sent: int
    answered: int
    rate_in_hz: float
    rate_out_hz: float
    age_median_s: float
    age_p95_s: float
    age_max_s: float
    drops: dict[str, int]
    waiting: int
    incomplete_clips: int

    def __str__(self) -> str:
        drops = ", ".join(f"{count} {reason}" for reason, count in self.drops.items()) or "none"
        return (
            f"{self.answered} of {self.sent} frames answered at {self.rate_out_hz:.1f} Hz"
            f" (sent at {self.rate_in_hz:.1f} Hz); age median {self.age_median_s:.2f} s, 95 % within"
            f" {self.age_p95_s:.2f} s, max {self.age_max_s:.2f} s;"
            f" drops: {drops}; clips that went incomplete: {self.incomplete_clips}; frames that still waited for a full"
            f" clip when the recording ended: {self.waiting}"
            + ("\nthis machine is too busy, or too slow, for that rate" if self.drops.get("overload") else "")
        )


def ages_of(exchange: Exchange) -> dict[int, float]:
    """Stamp -> age in seconds of each answered picture, see ``Timing``; in the order of the answers."""
    return {stamp: (time - exchange.sent[stamp]) * 1e-9 for stamp, time in exchange.answers().items()}


def timing_of(exchange: Exchange) -> Timing:
    """Rates, ages and drops of an exchange in which at least one picture was answered."""
    ages, told = ages_of(exchange), exchange.told()
    sent = sorted(exchange.sent.values())
    sending_s = (sent[-1] - sent[0]) * 1e-9
    answering_s = (max(exchange.answers().values()) - sent[0]) * 1e-9
    return Timing(
        sent=exchange.pictures,
        answered=len(ages),
        rate_in_hz=(len(sent) - 1) / sending_s if sending_s else 0.0,
        rate_out_hz=len(ages) / answering_s if answering_s else 0.0,
        **spread_of(ages.values()),
        drops=_drops(exchange, told),
        waiting=int(told.get("waiting", 0)),
        incomplete_clips=int(told.get("incomplete clips", 0)),
    )


def spread_of(ages: Collection[float]) -> dict[str, float]:
    """The three numbers of ages in a ``Timing``; of at least one age."""
    ascending = sorted(ages)
    return {
        "age_median_s": statistics.median(ascending),
        "age_p95_s": nearest_rank(ascending, 0.95),
        "age_max_s": ascending[-1],
    }


def _drops(exchange: Exchange, told: dict[str, str]) -> dict[str, int]:
    counts = {key.removeprefix("drops/"): int(count) for key, count in told.items() if key.startswith("drops/")}
    counts["lost on the way to the node"] = exchange.pictures - int(told.get("images received", exchange.pictures))
    counts["lost on the way back"] = int(told.get("estimates published", 0)) - len(exchange.answers())
    return {reason: count for reason, count in counts.items() if count > 0}


def nearest_rank(ascending: Sequence[float], share: float) -> float:
    """The smallest of the values that at least ``share`` of them do not exceed."""
    return ascending[max(0, math.ceil(share * len(ascending)) - 1)]


def together(timings: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The timings of several replays as one; rates over the time that all took, and frames numbered on from one
    recording to the next by the pictures sent. {} of none."""
    if not timings:
        return {}
    drops: Counter[str] = Counter()
    ages, numbers, first = [], [], 0
    for timing in timings:
        drops.update(timing["drops"])
        ages += timing["age_s"]
        numbers += [first + number for number in timing["age_frame"]]
        first += timing["sent"]
    rates_in = [(timing["sent"] - 1, timing["rate_in_hz"]) for timing in timings]
    rates_out = [(timing["answered"], timing["rate_out_hz"]) for timing in timings]
    whole = Timing(
        sent=first,
        answered=sum(timing["answered"] for timing in timings),
        rate_in_hz=_rate(rates_in),
        rate_out_hz=_rate(rates_out),
        **spread_of(ages),
        drops=dict(drops),
        waiting=sum(timing["waiting"] for timing in timings),
        incomplete_clips=sum(timing["incomplete_clips"] for timing in timings),
    )
    window = {name: timings[0][name] for name in ("clip_length", "overlap")}  # one configuration for all
    return {**asdict(whole), "age_s": ages, "age_frame": numbers, **window}


def in_words(timing: dict[str, Any]) -> str:
    """A timing of ``together`` for people."""
    return str(Timing(**{each.name: timing[each.name] for each in fields(Timing)}))


def same_clips(timing: dict[str, Any]) -> bool:
    """Whether the node has seen the clips that the path in this process makes, but for frames that still waited."""
    return not timing["drops"] and not timing["incomplete_clips"]


def _rate(parts: Sequence[tuple[int, float]]) -> float:
    """Of counts at rates, one after the other."""
    seconds = sum(count / rate for count, rate in parts if rate)
    return sum(count for count, rate in parts if rate) / seconds if seconds else 0.0
