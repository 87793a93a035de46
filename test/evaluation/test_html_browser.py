"""The page in a real browser: no complaint, every picture there, nothing wider than a phone."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from dkt_ros.evaluation.html import write_html

from .. import browser
from . import pages

pytestmark = pytest.mark.skipif(browser.PROGRAM is None, reason=browser.NO_BROWSER)

DESK, PHONE = 1280, 390
TOO_WIDE = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
MISSING = "[...document.images].filter(each => !(each.complete && each.naturalWidth > 0)).map(each => each.alt)"
#: Letters of a chart, in pixels of the screen.
LETTERS = """Math.min(...[...document.querySelectorAll('.chart text')].map(text => {
    const chart = text.ownerSVGElement;
    const scale = chart.getBoundingClientRect().width / chart.viewBox.baseVal.width;
    return scale * parseFloat(getComputedStyle(text).fontSize);
}))"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Page]:
    with browser.Page(tmp_path_factory.mktemp("browser") / "profile") as opened:
        yield opened


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pages by what is special about them."""
    folder, one = tmp_path_factory.mktemp("pages"), pages.evaluated(pages.recording("<b>one</b>"))
    values = one.report.as_json()
    many, galleries = pages.many(values, 6, every=3)
    no_sensor = pages.evaluated(pages.recording(sensor=False), pages.recording("still", 1, sensor=False))
    found = {
        "one recording": (values, one.timing, one.galleries),
        "many, through the node": (many, pages.THROUGH_NODE, galleries),
        "no sensor": (no_sensor.report.as_json(), {}, no_sensor.galleries),
    }
    for name, (report, timing, shown) in found.items():
        write_html(folder / f"{name}.html", report, timing, shown)
    return {name: folder / f"{name}.html" for name in found}


def size(picture: Path) -> tuple[int, int]:
    """(width, height) in the head of a PNG."""
    width, height = struct.unpack(">II", picture.read_bytes()[16:24])
    return width, height


@pytest.mark.parametrize(
    ("name", "width", "dark"),
    [
        ("one recording", PHONE, False),
        ("many, through the node", DESK, False),
        ("many, through the node", PHONE, True),
        ("no sensor", DESK, True),
        ("no sensor", PHONE, False),
    ],
)
def test_a_page_is_whole(
    page: browser.Page, reports: dict[str, Path], tmp_path: Path, name: str, width: int, dark: bool
) -> None:
    page.complaints.clear()
    page.requests.clear()
    page.open(reports[name], width, dark=dark)
    assert page.value("document.images.length") > 10 and page.value(MISSING) == []
    assert not page.value(TOO_WIDE)
    if page.value("document.querySelectorAll('.chart').length"):
        assert page.value(LETTERS) > 8.5
    paper = page.value("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(20, 24, 27)" if dark else "rgb(255, 255, 255)")
    assert page.complaints == [] and page.requests == []
    page.screenshot(tmp_path / "page.png")
    assert size(tmp_path / "page.png")[0] == width and size(tmp_path / "page.png")[1] > 2000


@pytest.mark.parametrize("width", [DESK, PHONE])
def test_a_click_enlarges_a_picture_and_another_takes_it_away(
    page: browser.Page, reports: dict[str, Path], width: int
) -> None:
    page.open(reports["one recording"], width)
    for pictures in (".pictures", ".slices"):
        image = f"document.querySelector('{pictures} label img')"
        edges = f"(({{left, top, right, bottom}}) => [left, top, right, bottom])({image}.getBoundingClientRect())"
        before = page.value(edges)
        page.value(f"{image}.click()")
        left, top, right, bottom = page.value(edges)
        assert (right - left) * (bottom - top) > 2 * (before[2] - before[0]) * (before[3] - before[1])
        assert left >= 0 and top >= 0 and right <= width and bottom <= page.value("innerHeight")
        assert page.value(f"getComputedStyle({image}).imageRendering") == "pixelated"
        page.value(f"{image}.click()")
        assert page.value(edges) == before


def test_what_is_wrong_with_a_page_is_seen(page: browser.Page, tmp_path: Path) -> None:
    """The checks above can fail: a page with every fault that they look for."""
    bad = tmp_path / "bad.html"
    bad.write_text(
        """<!DOCTYPE html><meta name=viewport content="width=device-width"><body>
        <div style="width: 600px">wide</div>
        <img src="nowhere.png" alt="gone"><img src="data:image/png;base64,AAAA" alt="torn">
        <script>console.error("said aloud"); setTimeout(() => { throw new Error("thrown") });</script>"""
    )
    page.complaints.clear()
    page.requests.clear()
    page.open(bad, PHONE)
    assert page.value(TOO_WIDE) and page.value(MISSING) == ["gone", "torn"]
    said = " | ".join(page.complaints)
    assert "said aloud" in said and "thrown" in said and "nowhere.png" in said
    assert any(address.endswith("nowhere.png") for address in page.requests)
    with pytest.raises(OSError, match="ERR_FILE_NOT_FOUND"):
        page.open(tmp_path / "absent.html", DESK)
