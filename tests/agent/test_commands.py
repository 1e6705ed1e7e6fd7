"""Any command, its end and its time-out."""

from __future__ import annotations

import threading
import time

from agent_rig import wait_until

from lab.agent.commands import Command


def test_a_command_gives_its_exit_code_and_both_streams() -> None:
    result = Command(["sh", "-c", "echo out; echo err >&2; exit 3"], None, 5).run()
    assert result == {"exit_code": 3, "stdout": "out\n", "stderr": "err\n"}


def test_at_its_time_out_a_command_ends_with_all_it_started() -> None:
    begun = time.monotonic()
    result = Command(["sh", "-c", "echo so far; sleep 60 & sleep 60"], None, 0.2).run()
    assert time.monotonic() - begun < 10  # the inner sleep held the streams open, had it been left
    assert (result["exit_code"], result["stdout"]) == (124, "so far\n")


def test_a_program_that_is_not_there_is_exit_code_127() -> None:
    result = Command(["nosuchprogram"], None, 5).run()
    assert result["exit_code"] == 127
    assert "nosuchprogram" in result["stderr"]


def test_a_cancelled_command_ends_at_once() -> None:
    command = Command(["sleep", "60"], None, 60)
    results: list[dict[str, object]] = []
    thread = threading.Thread(target=lambda: results.append(command.run()))
    thread.start()
    wait_until(lambda: command.running, "the command")
    command.cancel()
    thread.join(timeout=5)
    assert results[0]["exit_code"] == -9
