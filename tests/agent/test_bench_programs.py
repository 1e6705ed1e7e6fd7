"""What runs beside Mininet for a bench: counters, wrk's figures, the sampler, other balancers' configurations."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable

import pytest
from agent_rig import Web, free_port

from lab.agent.bench import bulk, counters, load, peers, wrk
from lab.agent.bench.programs import Output, Programs
from lab.agent.namespaces import Here
from lab.agent.refusal import Refusal
from lab.wire_bench import Peer, Target

PEER = Peer(
    kind="haproxy",
    host="h7",
    ip="10.0.1.1",
    targets=(Target(port=80, servers=("10.0.0.1", "10.0.0.2")), Target(port=5201, servers=("10.0.0.1",))),
)


# Counters


def test_cpu_time_grows_with_work_and_is_nothing_for_who_is_gone() -> None:
    before = counters.cpu_s(os.getpid())
    began = time.process_time()
    while time.process_time() - began < 0.1:
        pass
    assert counters.cpu_s(os.getpid()) - before >= 0.08
    assert counters.cpu_s(1 << 22) == 0.0
    assert counters.memory_peak_mb(os.getpid()) > 1


def test_the_kernels_table_is_read_by_its_names() -> None:
    text = "TcpExt: SyncookiesSent TCPSynRetrans\nTcpExt: 0 7\nIpExt: InOctets\nIpExt: 9\n"
    assert counters.parse(text, "TcpExt") == {"SyncookiesSent": 0, "TCPSynRetrans": 7}
    assert counters.parse(text, "MPTcpExt") == {}


def test_a_connection_is_counted_by_the_kernel() -> None:
    before = counters.tcp(os.getpid())
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        after = counters.since(before, counters.tcp(os.getpid()))
    assert after["ActiveOpens"] >= 1
    assert after["PassiveOpens"] >= 1
    assert "TCPSynRetrans" in after


# wrk


def test_connections_are_dealt_evenly_and_no_client_gets_none() -> None:
    clients = ("h3", "h4", "h5", "h6")
    assert wrk.deal(256, clients) == dict.fromkeys(clients, 64)
    assert wrk.deal(6, clients) == {"h3": 2, "h4": 2, "h5": 1, "h6": 1}
    assert wrk.deal(1, clients) == {"h3": 1}


def test_wrks_figures_are_in_its_last_line() -> None:
    figures = {"connections": 5, "seconds": 1.0, "socket_errors": 0, "timeouts": 1, "bad_status": 0, "answer_ms": [1.5]}
    found = wrk.read(f"Running 1s test\n  5 requests\n{json.dumps(figures)}\n", "")
    assert (found.connections, found.timeouts, found.answer_ms) == (5, 1, (1.5,))


def test_a_wrk_that_fails_is_told_in_its_own_words() -> None:
    with pytest.raises(Refusal, match="wrk gave no figures: unable to connect") as refusal:
        wrk.read("", "unable to connect to 10.0.1.1:80 Connection refused\n")
    assert refusal.value.status == 500


# The sampler


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> load.Scripts:
    return load.Scripts(tmp_path_factory.mktemp("bench"))


def sampled(scripts: load.Scripts, port: int, count: int, every_s: float) -> dict[str, object]:
    done = subprocess.run(
        scripts.sampler("127.0.0.1", port, count, every_s), capture_output=True, text=True, check=True
    )
    return dict(json.loads(done.stdout))


def test_the_sampler_times_whole_connections(scripts: load.Scripts, web: Callable[..., Web]) -> None:
    server = web("h1", delay_ms=50)
    found = sampled(scripts, server.port, 4, 0.0)
    assert found["errors"] == 0
    assert isinstance(found["ms"], list)
    assert len(found["ms"]) == len(server.hits()) == 4
    assert all(ms >= 50 for ms in found["ms"])


def test_samples_start_in_time_whatever_becomes_of_the_earlier_ones(
    scripts: load.Scripts, web: Callable[..., Web]
) -> None:
    server = web("h1", delay_ms=400)
    sampled(scripts, server.port, 8, 0.01)
    times = [float(str(hit["time"])) for hit in server.hits()]
    assert max(times) - min(times) < 0.4  # one after the other they would have taken 3 s


def test_a_sample_without_an_answer_is_an_error_and_no_figure(scripts: load.Scripts) -> None:
    assert sampled(scripts, free_port(), 3, 0.0) == {"ms": [], "errors": 3}


def test_a_sample_that_is_cut_off_is_an_error(scripts: load.Scripts) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            client, _ = server.accept()
            client.recv(1000)
            client.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        assert sampled(scripts, server.getsockname()[1], 1, 0.0) == {"ms": [], "errors": 1}
        thread.join()


# Programs


def test_programs_run_at_the_same_time_and_answer_in_order() -> None:
    programs = Programs()
    began = time.monotonic()
    for word in ("a", "b"):
        programs.start(Here(), ["sh", "-c", f"sleep 0.3; echo {word}"])
    assert [output.out for output in programs.finish(5)] == ["a\n", "b\n"]
    assert time.monotonic() - began < 0.6


def test_a_program_that_takes_too_long_is_killed() -> None:
    programs = Programs()
    programs.start(Here(), ["sleep", "60"])
    assert programs.finish(0.1)[0].exit_code == -9


def test_cancelling_ends_what_runs_and_what_is_started_later() -> None:
    programs = Programs()
    programs.start(Here(), ["sleep", "60"])
    programs.cancel()
    programs.start(Here(), ["sleep", "60"])
    assert [output.exit_code for output in programs.finish(5)] == [-9, -9]


# iperf3


def test_bulk_is_what_the_receiver_got() -> None:
    end = {"sum_sent": {"bits_per_second": 2e9, "retransmits": 3}, "sum_received": {"bits_per_second": 1e9}}
    assert bulk.read(Output(0, json.dumps({"end": end}), "")) == {"bits_per_s": 1_000_000_000, "retransmits": 3}


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        (Output(1, '{"end": {}, "error": "unable to connect"}', ""), "unable to connect"),
        (Output(-9, "", ""), "it said nothing"),
        (Output(0, "no JSON", ""), "no JSON"),
    ],
)
def test_bulk_that_fails_is_told_with_its_reason(output: Output, reason: str) -> None:
    with pytest.raises(Refusal, match=f"iperf3 failed: {reason}"):
        bulk.read(output)


# Peers


def test_haproxy_balances_tcp_in_turn_and_checks_where_there_is_a_choice() -> None:
    text = peers.haproxy(PEER)
    assert "nbthread 1" in text
    assert "mode tcp" in text
    assert "balance roundrobin" in text
    assert text.count(" check ") == 2
    assert "bind 10.0.1.1:5201\n    server 10.0.0.1 10.0.0.1:5201\n" in text


def test_nftables_takes_servers_in_turn_and_answers_come_back_through_it() -> None:
    text = peers.nftables(PEER)
    assert "ip daddr 10.0.1.1 tcp dport 80 dnat to numgen inc mod 2 map { 0 : 10.0.0.1, 1 : 10.0.0.2 }" in text
    assert "ip daddr 10.0.1.1 tcp dport 5201 dnat to 10.0.0.1\n" in text
    assert "ip daddr { 10.0.0.1, 10.0.0.2 } masquerade" in text


def test_ipvs_has_a_service_per_port_in_turn() -> None:
    assert peers.ipvs(PEER).splitlines() == [
        "-A -t 10.0.1.1:80 -s rr",
        "-a -t 10.0.1.1:80 -r 10.0.0.1:80 -m -w 1",
        "-a -t 10.0.1.1:80 -r 10.0.0.2:80 -m -w 1",
        "-A -t 10.0.1.1:5201 -s rr",
        "-a -t 10.0.1.1:5201 -r 10.0.0.1:5201 -m -w 1",
    ]
