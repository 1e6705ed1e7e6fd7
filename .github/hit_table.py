"""The job summary: a Markdown table of hits per server, a row for each result line in the files given.

Standard library only. The one rule: a file that is missing or empty is a row too, or a run that broke would not show.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

HEADINGS = ("scenario", "engine", "backend", "verdict", "hits (clients / servers)", "failed", "packet-ins", "p50 ms")


def main(paths: list[str]) -> None:
    print(row(HEADINGS))
    print(row(["---"] * len(HEADINGS)))
    for path in paths:
        for cells in rows(Path(path)):
            print(row(cells))


def rows(path: Path) -> Iterator[list[str]]:
    lines = path.read_text().splitlines() if path.exists() else []
    results = [json.loads(line) for line in lines if line.startswith("{")]
    if not results:
        yield [path.stem, "", "", "no result", "", "", "", ""]
    for result in results:
        yield [
            result["scenario"],
            result["engine"] or "",  # null where a run broke before it was chosen
            result["backend"] or "",
            result["verdict"],
            ", ".join(
                f"{name}: {known(hit['client'])} / {known(hit['server'])}" for name, hit in result["hits"].items()
            ),
            f"{result['requests']['failed']} of {result['requests']['sent']}",
            known(result["controller"]["packet_ins"]),
            known(result["latency_ms"]["total"]["p50"]),
        ]


def known(value: float | None) -> str:
    return "?" if value is None else str(value)


def row(cells: list[str] | tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main(sys.argv[1:])
