"""The page as its reader gets it: its meaning is read back out of the HTML, its bytes are of no interest."""

from __future__ import annotations

import json
import re
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from made_runs import ALL, fifty_hosts, in_turn, leave, request, result, round_robin, scenario, three_switches

import lab.report.html as html_module
from lab.report.data import ReportError
from lab.report.html import write_html
from lab.wire import encode

VOID = {"meta", "link", "br"}
TEMPLATE = Path(html_module.__file__).parent / "templates" / "report.html.j2"


class Page(HTMLParser):
    """Tags with their attributes and text. Fails on a tag that is closed without having been opened."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.cells: dict[str, list[list[str]]] = {}  # id of a section → rows of its tables
        self.links: dict[tuple[str, str], list[str]] = {}  # (from, to) in the network picture → labels on that edge
        self.words: list[str] = []
        self._open: list[tuple[str, dict[str, str | None]]] = []
        self.feed(path.read_text(encoding="utf-8"))
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append((tag, found))
        if tag not in VOID:
            self._open.append((tag, found))
        section = self._within("section")
        if tag == "tr" and section:
            self.cells.setdefault(str(section.get("id")), []).append([])
        if tag in ("td", "th") and section:
            self.cells[str(section.get("id"))][-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1][0] != "style":
            self.words.append(data)
        section = self._within("section")
        if section and (self._within("td") is not None or self._within("th") is not None):
            self.cells[str(section.get("id"))][-1][-1] += data
        group = self._within("g")
        if group and group.get("class") == "count-of" and self._open[-1][0] == "text":
            self.links.setdefault((str(group["data-from"]), str(group["data-to"])), []).append(data)

    def _within(self, tag: str) -> dict[str, str | None] | None:
        return next((found for name, found in reversed(self._open) if name == tag), None)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def test_round_robin_shows_verdict_hits_and_edges(tmp_path: Path) -> None:
    page = Page(write_html(round_robin(tmp_path / "run")))
    assert "passed" in page.text
    rows = {row[0]: row[1:] for row in page.cells["servers"]}
    assert rows["h1"][:3] == ["20", "20", "50.0 %"]
    assert rows["h2"][:3] == ["20", "20", "50.0 %"]
    assert page.links == {(f"h{i}", "s1"): ["20" if i < 3 else "10"] for i in range(1, 7)}
    assert ["h3", "10", "·", "·", "10"] in page.cells["matrix"]
    assert page.cells["expectations"][1] == ["✓ held", "hits.h1", "20 = 20"]
    for word in ("sandbox", "no Docker engine answers", "osken", "no POX here", "10.0.1.1:80", "Open vSwitch", "3.1.0"):
        assert word in page.text


def test_every_link_on_the_way_carries_its_requests(tmp_path: Path) -> None:
    page = Page(write_html(three_switches(tmp_path / "run")))
    assert page.links[("s1", "s2")] == ["30"]
    assert page.links[("h6", "s2")] == ["10"]
    assert page.links[("s3", "s2")] == ["40"]
    assert page.links[("h2", "s3")] == ["20"]


def test_many_hosts_are_chips_with_their_own_number(tmp_path: Path) -> None:
    page = Page(write_html(fifty_hosts(tmp_path / "run")))
    assert page.links == {("38 clients", "s1"): ["2\u202f000"], ("10 servers", "s1"): ["2\u202f000"]}
    assert "h11: 53 requests" in page.text
    assert "h10: 200 requests" in page.text


@pytest.mark.parametrize("made", ALL)
def test_page_is_complete_in_itself(made: Any, tmp_path: Path) -> None:
    page = Page(write_html(made(tmp_path / "run")))
    assert not {"script", "img", "iframe", "object", "base"} & {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        for name in ("src", "href", "xlink:href", "data", "action"):
            address = attributes.get(name)
            assert address is None or address == "data:," or (tmp_path / "run" / address).is_file(), (tag, address)
    assert not re.search(r"url\((?!#)|@import", (tmp_path / "run" / "report.html").read_text())


@pytest.mark.parametrize("made", ALL)
def test_every_picture_is_named_and_described(made: Any, tmp_path: Path) -> None:
    page = Page(write_html(made(tmp_path / "run")))
    idents = [attributes["id"] for _, attributes in page.tags if attributes.get("id")]
    assert len(idents) == len(set(idents))
    for tag, attributes in page.tags:
        if tag == "svg":
            assert attributes["role"] == "img"
            assert set(str(attributes["aria-labelledby"]).split()) <= set(idents)


@pytest.mark.parametrize(
    ("verdict", "shown"),
    [("failed", "failed"), ("broken", "broken"), ("interrupted", "interrupted"), ("odd", "broken")],
)
def test_verdict_and_its_reason_are_shown(verdict: str, shown: str, tmp_path: Path) -> None:
    page = Page(write_html(leave(tmp_path, result(verdict=verdict, reason="The switch never came."))))
    assert any(attributes.get("id") == "verdict" for _, attributes in page.tags)
    assert page.words[page.words.index(next(w for w in page.words if w.strip() == shown and "\n" not in w))] == shown
    assert "The switch never came." in page.text


def test_failed_requests_are_listed_up_to_twenty_with_their_error(tmp_path: Path) -> None:
    requests = [request(i, "h3", None, f"refused {i}") for i in range(30)]
    page = Page(write_html(leave(tmp_path, result(requests, verdict="failed"), requests, scenario())))
    errors = [row[-1] for row in page.cells["failures"][1:]]
    assert errors == [f"refused {i}" for i in range(20)]
    assert "The first 20 of 30" in page.text
    assert page.links[("h3", "s1")] == ["30"]


EVIL = "<script>alert(1)</script>\"'&{{ 7*7 }}</style></svg>"


def test_hostile_words_stay_words(tmp_path: Path) -> None:
    """Names and errors come from a network: none may open a tag, close one, or leave an attribute."""
    requests = [request(0, EVIL, EVIL), request(1, EVIL, None, EVIL), request(2, "h3", "h1\ud800\x00")]
    plan = scenario({EVIL: "s1", "h3": EVIL}, [EVIL], switches={"s1": {}, EVIL: {}}, links=[["s1", EVIL]])
    plan["services"] = {EVIL: {"ip": EVIL, "policy": EVIL, "servers": [EVIL]}}
    steps = [{"what": EVIL, "started_s": 0.1, "ended_s": 0.2}]
    changes = {
        "about": EVIL,
        "reason": EVIL,
        "scenario": EVIL,
        "steps": steps,
        "notes": [EVIL],
        "why": {"engine": EVIL},
    }
    changes |= {"versions": {EVIL: EVIL}, "engine": EVIL, "name": EVIL, "started": EVIL, "hits": {EVIL: {"client": 1}}}
    leave(tmp_path, result(requests[:2], **changes), [], plan)
    (tmp_path / "requests.ndjson").write_text("".join(f"{json.dumps(encode(one))}\n" for one in requests))
    page = Page(write_html(tmp_path))  # fails where the tags don't match
    assert "script" not in {tag for tag, _ in page.tags}
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert page.text.count("<script>alert(1)</script>") > 10
    assert "{{ 7*7 }}" in page.text


def test_hundred_thousand_requests_make_a_small_page_soon(tmp_path: Path) -> None:
    servers = [f"h{i}" for i in range(1, 21)]
    clients = [f"h{i}" for i in range(21, 201)]
    requests = in_turn(100_000, clients, servers, gap=0.001)
    leave(tmp_path, result(requests), requests, scenario(200, servers))
    began = time.process_time()
    path = write_html(tmp_path)
    assert (
        time.process_time() - began < 4
    )  # 1 s of its own on a quiet machine; here only against a slip in the order of cost
    assert path.stat().st_size < 1_000_000
    assert "180 clients" in Page(path).text


def test_broken_off_page_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_html(round_robin(tmp_path / "run"))
    before, names = path.read_text(), sorted(p.name for p in path.parent.iterdir())

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(ReportError, match="No space left"):
        write_html(path.parent)
    assert path.read_text() == before
    assert sorted(p.name for p in path.parent.iterdir()) == names


def test_page_is_the_same_each_time(tmp_path: Path) -> None:
    folder = fifty_hosts(tmp_path / "run")
    assert write_html(folder).read_bytes() == write_html(folder).read_bytes()


def _schemes() -> list[dict[str, str]]:
    """The colours of the light, dark and print schemes."""
    blocks = re.findall(r":root \{([^}]*)\}", TEMPLATE.read_text(encoding="utf-8"))
    return [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6})", block)) for block in blocks]


def _luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * c for c in colour[1:])
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(one: str, other: str) -> float:
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", _schemes(), ids=("light", "dark", "print"))
def test_words_and_marks_can_be_told_from_their_ground(scheme: dict[str, str]) -> None:
    """WCAG 2: 4.5 for text, 3 for what is drawn."""
    grounds = [
        ("ink", "page card chip accent-soft"),
        ("muted", "page card chip accent-soft"),
        ("accent", "card accent-soft"),
    ]
    grounds += [(tone, f"card {tone}-soft") for tone in ("good", "bad", "warn")]
    grounds += [("ink", "good-soft bad-soft warn-soft"), ("muted", "good-soft bad-soft warn-soft")]
    for fore, backs in grounds:
        for back in backs.split():
            assert _contrast(scheme[fore], scheme[back]) >= 4.5, (fore, back)
    for index in range(8):
        assert _contrast(scheme[f"s{index}"], scheme["card"]) >= 2.8, index


@pytest.mark.parametrize("damage", ["none", "garbage", "no folder"])
def test_the_template_is_compiled_once_and_a_damaged_copy_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    templates = tmp_path / "templates"
    templates.mkdir()
    (templates / TEMPLATE.name).write_text(TEMPLATE.read_text())
    monkeypatch.setattr(html_module, "TEMPLATES", templates)
    folder = round_robin(tmp_path / "run")
    pages = []
    for _ in range(2):
        html_module._template.cache_clear()
        pages.append(write_html(folder).read_text())
        kept = list((templates / "__pycache__").iterdir())
        assert len(kept) == 1
        if damage == "garbage":
            kept[0].write_bytes(kept[0].read_bytes()[:-40])
        if damage == "no folder":
            kept[0].unlink()
            kept[0].parent.rmdir()
    html_module._template.cache_clear()
    assert pages[0] == pages[1]
