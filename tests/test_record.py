"""What a run leaves on disk: names, whole files, and a result that survives the way there and back."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path

import pytest

from lab.record import Expectation, RequestLog, Result, RunFolder, read_requests, stamp
from lab.wire import Request

NOON = datetime(2026, 1, 2, 12, 0, 5, tzinfo=timezone.utc)


def a_request(server: str | None = "h1") -> Request:
    return Request(time=1.5, client="h3", local_port=40001, server=server, status=200, connect_ms=1.0, total_ms=2.0)


def test_folder_is_named_after_time_and_scenario(tmp_path: Path) -> None:
    assert RunFolder.create(tmp_path / "runs", "round_robin", NOON).path.name == "20260102T120005Z-round_robin"


def test_two_runs_in_one_second_get_two_folders(tmp_path: Path) -> None:
    names = [RunFolder.create(tmp_path, "a", NOON).path.name for _ in range(3)]
    assert names == ["20260102T120005Z-a", "20260102T120005Z-a-2", "20260102T120005Z-a-3"]


def test_latest_points_to_the_last_run(tmp_path: Path) -> None:
    RunFolder.create(tmp_path, "a", NOON)
    second = RunFolder.create(tmp_path, "b", NOON)
    assert (tmp_path / "latest").resolve() == second.path


def test_a_folder_called_latest_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "latest" / "mine").mkdir(parents=True)
    assert RunFolder.create(tmp_path, "a", NOON).path.is_dir()
    assert (tmp_path / "latest" / "mine").is_dir()


def test_a_name_with_slashes_stays_inside_the_parent(tmp_path: Path) -> None:
    assert RunFolder.create(tmp_path, "../../x y", NOON).path.parent == tmp_path


def test_stamp_sorts_by_time_whatever_the_zone() -> None:
    assert stamp(NOON) == "20260102T120005Z"


def test_requests_have_their_name_only_when_all_are_written(tmp_path: Path) -> None:
    log = RequestLog(tmp_path)
    log.add(a_request())
    assert list(read_requests(tmp_path)) == []
    log.close()
    log.close()  # twice is fine
    assert list(read_requests(tmp_path)) == [a_request()]


def test_requests_keep_their_order_and_are_closed_after_an_error(tmp_path: Path) -> None:
    log = RequestLog(tmp_path)
    log.add(a_request("h1"))
    log.add(a_request(None))
    with pytest.raises(KeyError), log:
        raise KeyError
    assert [r.server for r in read_requests(tmp_path)] == ["h1", None]


def test_no_scratch_file_is_left(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "a", NOON)
    with folder.requests() as log:
        log.add(a_request())
    folder.write("flows.txt", "none")
    Result(scenario="a").write(folder.path)
    assert sorted(p.name for p in folder.path.iterdir()) == ["flows.txt", "requests.ndjson", "result.json"]


def test_result_reads_back_as_it_was_written(tmp_path: Path) -> None:
    result = Result(scenario="a", verdict="passed", hits={"h1": {"client": 20, "server": 20}})
    result.expectations.append(Expectation(name="hits.h1", passed=True, detail="20 = 20"))
    result.write(tmp_path)
    assert Result.read(tmp_path) == result


def test_result_has_every_field_of_the_contract_and_null_where_not_known(tmp_path: Path) -> None:
    Result(scenario="a").write(tmp_path)
    data = json.loads((tmp_path / "result.json").read_text())
    contract = "schema scenario verdict backend engine policy mode datapath versions requests hits latency_ms services"
    assert set(f"{contract} controller expectations timing_s".split()) <= set(data)
    assert data["schema"] == "balance-lab/result/1"
    assert data["verdict"] == "broken"
    assert data["engine"] is None
    assert data["controller"]["packet_ins"] is None
    assert data["latency_ms"]["connect"]["p99"] is None


def test_result_of_a_newer_kit_is_read_without_its_new_fields() -> None:
    assert Result.from_json({**Result(scenario="a").to_json(), "new": 1}) == Result(scenario="a")


def test_another_file_is_not_taken_for_a_result() -> None:
    with pytest.raises(ValueError, match="expected schema"):
        Result.from_json({"schema": "other/1"})


def test_a_folder_that_is_no_runs_is_not_the_latest(tmp_path: Path) -> None:
    first = RunFolder.create(tmp_path, "a", NOON)
    RunFolder.create(tmp_path, "bench", NOON, latest=False)
    assert (tmp_path / "latest").resolve() == first.path
