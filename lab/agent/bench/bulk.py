"""Bulk throughput: one iperf3 stream through the service's address. Rule: client and server both end with the job."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from lab.agent.bench.counters import listens
from lab.agent.bench.programs import Output, Programs, need
from lab.agent.namespaces import Place
from lab.agent.refusal import Refusal
from lab.wire_bench import Bulk

GRACE_S = 10.0
START_S = 5.0


class BulkJob:
    def __init__(self, bulk: Bulk, places: Mapping[str, Place]) -> None:
        self._program = need("iperf3")
        self._bulk, self._places = bulk, places
        self._serving, self._asking = Programs(), Programs()

    def run(self) -> dict[str, Any]:
        """Blocks; gives {"bits_per_s", "retransmits"}. Raises Refusal."""
        bulk = self._bulk
        try:
            self._serve()
            ask = [self._program, "-c", bulk.ip, "-p", str(bulk.port), "-t", str(bulk.seconds), "-J"]
            self._asking.start(self._places[bulk.client], [*ask, *(["-R"] if bulk.reverse else [])])
            (output,) = self._asking.finish(bulk.seconds + GRACE_S)
        finally:
            self._serving.end()
            self._asking.end()
        return read(output)

    def cancel(self) -> None:
        self._asking.cancel()
        self._serving.cancel()

    def _serve(self) -> None:
        """Its server ends after one client."""
        bulk = self._bulk
        server = self._serving.start(self._places[bulk.server], [self._program, "-s", "-1", "-p", str(bulk.port)])
        deadline = time.monotonic() + START_S
        while not listens(server.pid, bulk.port):
            if server.poll() is not None or time.monotonic() > deadline:
                raise Refusal(500, f"iperf3 doesn't listen on port {bulk.port} of {bulk.server}")
            time.sleep(0.01)


def read(output: Output) -> dict[str, Any]:
    """The figures of iperf3's JSON. Raises Refusal(500) with its own reason."""
    said: dict[str, Any] = {}
    with suppress(ValueError):
        said = json.loads(output.out)
    if output.exit_code or "error" in said or "end" not in said:
        raise Refusal(500, f"iperf3 failed: {said.get('error') or output.last_words}")
    sums = said["end"]
    return {
        "bits_per_s": round(sums["sum_received"]["bits_per_second"]),
        "retransmits": sums["sum_sent"].get("retransmits", 0),
    }
