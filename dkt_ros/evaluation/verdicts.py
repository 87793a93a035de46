"""Whether ours is better or worse than another on the same pixels, in a sentence that is as ready to say either."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dkt_ros.evaluation.means import OURS, number_of

#: region of protocol C -> what a reader calls it: where ours may do harm, as the sensor is mostly right there.
SENSOR_IS_RIGHT = {"opaque_seen": "opaque things", "specular_seen": "shiny metal"}


def beside(mean: Mapping[str, Any], region: str, other: str, title: str) -> str:
    """REL and the share within a factor of 1.05 of ours and of another in a region under protocol C, and who is better.

    Args:
        mean: method -> protocol -> region -> numbers.
        other: the method, called ``title``; it has values for the same pixels as ours.

    Returns "" where either has no number.
    """
    names = ("rel", "delta_1_05")
    ours, theirs = ([number_of(mean.get(each, {}), "C", region, name) for name in names] for each in (OURS, other))
    if None in (*ours, *theirs):
        return ""
    shown = [(f"{rel:.2%}", f"{share:.1%}") for rel, share in (ours, theirs)]
    return (
        f"ours has REL {shown[0][0]}, and {shown[0][1]} of its pixels are within a factor of 1.05 of the truth;"
        f" {title} has {shown[1][0]} and {shown[1][1]}: {_who(ours, theirs)}"
    )


def _who(ours: list[Any], theirs: list[Any]) -> str:
    """By both measures, in the digits that are shown."""
    error, share = round(ours[0] - theirs[0], 4), round(theirs[1] - ours[1], 3)
    if not error and not share:
        return "ours is as good there"
    if error >= 0 and share >= 0:
        return "ours is worse there"
    if error <= 0 and share <= 0:
        return "ours is better there"
    return "ours is better by one measure and worse by the other"
