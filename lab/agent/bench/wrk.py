"""wrk on one client: its command line, and its figures by a few lines of Lua, since its own summary rounds them.

Rule: each request has a connection of its own (`Connection: close`). wrk starts its clock when a connection stands, so
its latency is that of answers alone; whole connections are timed by sampler.py.
"""

from __future__ import annotations

import json
from pathlib import Path

from lab import wire
from lab.agent.refusal import Refusal
from lab.wire_bench import Wrk

QUANTILES = 200
TIMEOUT_S = 2
REPORT = """\
function done(summary, latency)
  local quantiles = {}
  if summary.requests > 0 then
    for i = 1, QUANTILES do
      quantiles[i] = string.format("%.3f", latency:percentile(100 * (i - 0.5) / QUANTILES) / 1000)
    end
  end
  local errors = summary.errors
  io.write(string.format('{"connections": %d, "seconds": %.6f, ', summary.requests, summary.duration / 1e6))
  io.write(string.format('"socket_errors": %d, "timeouts": %d, "bad_status": %d, "answer_ms": [%s]}\\n',
    errors.connect + errors.read + errors.write, errors.timeout, errors.status, table.concat(quantiles, ", ")))
end
"""


def write_report(folder: Path) -> Path:
    """The Lua that every wrk of a bench runs at its end."""
    path = folder / "report.lua"
    path.write_text(f"QUANTILES = {QUANTILES}\n{REPORT}")
    return path


def command(report: Path, url: str, connections: int, seconds: int) -> list[str]:
    figures = ["-t1", f"-c{connections}", f"-d{seconds}s", f"--timeout={TIMEOUT_S}s"]
    return ["wrk", *figures, f"--script={report}", "--header", "Connection: close", url]


def read(output: str, errors: str) -> Wrk:
    """What it says in its last line. Raises Refusal(500) where it has none."""
    lines = output.splitlines()
    try:
        return wire.decode(Wrk, json.loads(lines[-1]))
    except (IndexError, ValueError):
        words = (errors.strip() or output.strip()).splitlines()
        raise Refusal(500, f"wrk gave no figures: {words[-1][:300] if words else 'it said nothing'}") from None


def deal(concurrency: int, clients: tuple[str, ...]) -> dict[str, int]:
    """Connections per client, as even as can be; a client that would have none is left out."""
    each, more = divmod(concurrency, len(clients))
    dealt = {client: each + (i < more) for i, client in enumerate(clients)}
    return {client: count for client, count in dealt.items() if count}
