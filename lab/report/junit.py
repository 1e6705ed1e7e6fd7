"""JUnit XML of finished runs: a test suite per scenario, a test case per expectation.

Rule: a run that broke, or left something behind, is an error in its suite, so that a CI server can't take it for one
that passed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

from lab.record import BROKEN, INTERRUPTED, Expectation, Result, write_text

_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, section 2.2


def write(results: Sequence[Result], path: Path) -> None:
    """Raises OSError where `path` can't be written."""
    root = ET.Element("testsuites", name="balance-lab")
    for result in results:
        root.append(_suite(result))
    ET.indent(root)
    write_text(path, ET.tostring(root, encoding="unicode", xml_declaration=False) + "\n")


def _suite(result: Result) -> ET.Element:
    reason = result.left or (result.reason or result.verdict if result.verdict in (BROKEN, INTERRUPTED) else None)
    suite = ET.Element(
        "testsuite",
        name=_clean(result.scenario),
        tests=str(len(result.expectations) + bool(reason)),
        failures=str(sum(not expectation.passed for expectation in result.expectations)),
        errors=str(int(bool(reason))),
        time=f"{result.duration_s:.3f}",
        timestamp=_clean(result.started),
    )
    suite.append(_properties(result))
    suite.extend(_case(result, expectation) for expectation in result.expectations)
    if reason:
        case = ET.SubElement(suite, "testcase", classname=_clean(result.scenario), name="run")
        ET.SubElement(case, "error", message=_clean(reason), type=result.verdict)
    return suite


def _properties(result: Result) -> ET.Element:
    properties = ET.Element("properties")
    for name in ("backend", "engine", "policy", "mode", "datapath"):
        if value := getattr(result, name):
            ET.SubElement(properties, "property", name=name, value=_clean(value))
    return properties


def _case(result: Result, expectation: Expectation) -> ET.Element:
    case = ET.Element("testcase", classname=_clean(result.scenario), name=_clean(expectation.name))
    if not expectation.passed:
        ET.SubElement(case, "failure", message=_clean(expectation.detail), type="expectation")
    return case


def _clean(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
