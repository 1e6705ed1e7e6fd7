"""Charts: well-formed, whatever the values, and each series is in them."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from lab.simulate.chart import Chart, Series

SVG = "{http://www.w3.org/2000/svg}"


def draw(points: list[tuple[float, float]], **options: object) -> ET.Element:
    chart = Chart(title="a < b & c", x="x", y="y", series=[Series(name="one", points=points)], **options)
    return ET.fromstring(chart.svg())


def texts(picture: ET.Element) -> list[str]:
    return ["".join(text.itertext()) for text in picture.iter(f"{SVG}text")]


@pytest.mark.parametrize("log_x", [True, False])
@pytest.mark.parametrize("log_y", [True, False])
@pytest.mark.parametrize("points", [[(10, 0.5)], [(1, 1e-6), (1000, 3.0)], [(7, 7), (8, 7)]])
def test_every_point_is_within_the_picture(points: list[tuple[float, float]], log_x: bool, log_y: bool) -> None:
    picture = draw(points, log_x=log_x, log_y=log_y)
    width, height = map(float, picture.attrib["viewBox"].split()[2:])
    places = [(float(c.attrib["cx"]), float(c.attrib["cy"])) for c in picture.iter(f"{SVG}circle")]
    assert len(places) == len(points) + 1  # and the legend's
    assert all(0 <= x <= width and 0 <= y <= height for x, y in places)
    assert {"a < b & c", "one"} <= set(texts(picture))


def test_nothing_at_all_stands_at_the_floor_of_a_logarithmic_axis() -> None:
    picture = draw([(1, 0.0), (10, 0.1)], floor=1e-4, percent=True)
    assert "≤ 0.01 %" in texts(picture)
    assert "10 %" in texts(picture)


def test_a_flat_zero_can_be_drawn_on_a_linear_axis() -> None:
    assert "0" in texts(draw([(1, 0.0), (2, 0.0)], log_x=False, log_y=False))
