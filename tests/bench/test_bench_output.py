"""What a bench shows and leaves: tables, plot, bench.json."""

from __future__ import annotations

import io
import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from bench_samples import sample

from lab.bench import analysis, plot, table
from lab.bench.record import BENCH, SCHEMA, Bench, BulkSample


@pytest.fixture
def bench() -> Bench:
    names = ["direct", "haproxy", "stock"]
    samples = [sample(name, n, c, at_s=float(n)) for n in (1, 2) for c in (1, 16) for name in names]
    for one in samples:
        if one.variant == "stock":
            one.stalls, one.per_s = ["5 SYNs were sent again: 16% of the load's time stood still"], 321.0
    bulk = [BulkSample(variant=name, round=1, direction="down", at_s=0.0, bits_per_s=1e9) for name in names[:2]]
    bulk.append(BulkSample(variant="stock", round=1, direction="down", at_s=0.0, bits_per_s=None, error="none"))
    found = Bench(name="b", samples=samples, bulk_samples=bulk, variants={name: {"idle_cpu": {}} for name in names})
    found.results = analysis.results(samples, names)
    found.bulk_results = analysis.bulk_results(bulk, names)
    found.left_out = [{"variant": "ipvs", "why": "this kernel has none"}]
    return found


def shown(bench: Bench) -> str:
    stream = io.StringIO()
    table.show(bench, Path("runs/b"), stream)
    return stream.getvalue()


def test_the_table_has_a_row_per_variant_and_concurrency(bench: Bench) -> None:
    text = shown(bench)
    assert [text.count(f"{n} at a time: speed") for n in (1, 16)] == [1, 1]
    assert sum(line.split()[:1] == ["haproxy"] for line in text.splitlines()) == 5  # speed and cost twice, bulk


def test_what_stalled_has_a_star_and_a_sentence(bench: Bench) -> None:
    text = shown(bench)
    assert "321*" in text
    assert "1000*" not in text
    assert "stock, 16 at a time: 2 of 2 stalled, all: its figures are theirs (*); such as: 5 SYNs" in text


def test_what_was_left_out_is_named(bench: Bench) -> None:
    assert "without ipvs: this kernel has none" in shown(bench)


def test_what_a_lab_said_of_its_switch_is_told(bench: Bench) -> None:
    assert not any("makes no hash" in note for note in table.notes(bench))
    bench.variants["direct"]["notes"] = ["the datapath makes no hash"]
    assert "direct: the datapath makes no hash" in table.notes(bench)


def test_the_plot_is_a_picture_that_names_every_variant_and_pales_the_stalled(bench: Bench) -> None:
    svg = plot.draw(bench)
    root = ET.fromstring(svg)
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert [texts.count(name) for name in ("direct", "haproxy", "stock")] == [3, 4, 3]  # a panel each; a legend
    assert svg.count('class="s"') == 2


def test_a_plot_of_one_stalled_variant_is_a_picture_too() -> None:
    one = sample("stock", whole_ms=[], stalls=["it stalled"])
    ET.fromstring(plot.draw(Bench(name="b", results=analysis.results([one], ["stock"]))))


def test_the_file_names_its_schema_and_holds_every_sample(bench: Bench, tmp_path: Path) -> None:
    bench.write(tmp_path)
    data = json.loads((tmp_path / BENCH).read_text())
    assert data["schema"] == SCHEMA == "balance-lab/bench/1"
    assert len(data["samples"]) == len(bench.samples)
    assert data["complete"] is False
