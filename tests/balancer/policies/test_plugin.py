"""A user's own policy: what is wrong with it is told at load, and what goes wrong later loses no connection."""

from __future__ import annotations

import random
import textwrap

import pytest
from helpers.pools import drawn, members
from helpers.rig import MakeRig, Rig, Service

from lab.balancer.policies.plugin import Guarded, Plugin, PluginError, is_plugin, load, split_name

LAST = """
    class Last:
        def __init__(self, rng):
            self.live = ()

        def pool_changed(self, live):
            self.live = live

        def choose(self, client_ip):
            return self.live[-1]
"""
PICKY = (
    LAST
    + """

    class Picky(Last):  # fails for three clients, and for none in its trial
        def choose(self, client_ip):
            if client_ip == 13:
                raise KeyError("thirteen")
            if client_ip == 14:
                return None
            if client_ip == 15:
                raise SystemExit(1)
            return self.live[-1]
"""
)


def plugin(source: str, class_name: str = "Last") -> Plugin:
    return Plugin(file="mine.py", class_name=class_name, source=textwrap.dedent(source))


def guarded(source: str, class_name: str = "Last", count: int = 3) -> Guarded:
    made = plugin(source, class_name)
    policy = Guarded(made, load(made), random.Random(1))
    policy.pool_changed(members(count))
    return policy


@pytest.mark.parametrize(
    ("policy", "parts"),
    [
        ("a/mine.py:Mine", ("a/mine.py", "Mine")),
        ("mine.py", ("mine.py", "")),
        ("C:/mine.py", ("C:/mine.py", "")),
        ("odd:mine.py:Mine", ("odd:mine.py", "Mine")),
    ],
)
def test_name_of_a_plugin_is_a_file_and_a_class(policy: str, parts: tuple[str, str]) -> None:
    assert is_plugin(policy)
    assert split_name(policy) == parts


@pytest.mark.parametrize("policy", ["random", "round_robin", "mine:Mine", "", ":", "py:py"])
def test_what_names_no_python_file_is_no_plugin(policy: str) -> None:
    assert not is_plugin(policy)


def test_plugin_chooses() -> None:
    policy = guarded(LAST)
    assert drawn(policy, 3) == "333"
    policy.pool_changed(members(2))
    assert drawn(policy, 2) == "22"
    assert (policy.failures, policy.told()) == (0, [])


@pytest.mark.parametrize(
    ("source", "class_name", "sentence"),
    [
        ("class Last(:", "Last", "mine.py can't be loaded: invalid syntax, line 1"),
        ("import nowhere", "Last", "mine.py can't be loaded: ModuleNotFoundError: No module named 'nowhere', line 1"),
        ("raise SystemExit", "Last", "mine.py can't be loaded: SystemExit, line 1"),
        (LAST, "Lest", "mine.py has no class 'Lest': did you mean Last? known: Last"),
        ("Last = 3", "Last", "mine.py has no class 'Last'; known: none"),
        ("class Last: pass", "Last", "mine.py: class Last has no method pool_changed(self, live)"),
        (
            LAST.replace("choose(self, client_ip)", "choose(self, client_ip, port)"),
            "Last",
            "mine.py: Last.choose(self, client_ip, port) must be callable as choose(self, client_ip)",
        ),
        (
            LAST + "        def live_changed(self): pass\n",
            "Last",
            "mine.py: Last.live_changed(self) must be callable as live_changed(self, member)",
        ),
        (LAST + "        choose = 3\n", "Last", "mine.py: Last.choose must be a method choose(self, client_ip)"),
        (LAST.replace("(self, rng)", "(self)"), "Last", "mine.py: Last(rng) can't be made: TypeError: "),
        (LAST + "        watches_live = 'no'\n", "Last", "mine.py: Last.watches_live must be True or False, not 'no'"),
        (
            LAST + "        watches_live = False\n        def live_changed(self, member): pass\n",
            "Last",
            "mine.py: Last has live_changed, so it can't be with watches_live = False; leave one of them out",
        ),
        (
            LAST.replace("self.live[-1]", "self.live[client_ip]"),
            "Last",
            "mine.py: Last.choose fails in a trial: IndexError: tuple index out of range, line 10",
        ),
        (
            LAST.replace("self.live[-1]", "'h1'"),
            "Last",
            "mine.py: Last.choose fails in a trial: it returned 'h1', which is no live member",
        ),
        (
            LAST.replace("self.live = live", "self.live = self.live or live"),
            "Last",
            "mine.py: Last.choose fails in a trial: it returned member",
        ),
        (
            LAST.replace("self.live = live", "self.live = (live[0], *live[1:])"),
            "Last",
            "mine.py: Last.pool_changed fails in a trial: IndexError",  # an empty pool
        ),
    ],
)
def test_what_is_wrong_is_told_at_load_by_file_class_and_method(source: str, class_name: str, sentence: str) -> None:
    with pytest.raises(PluginError) as caught:
        load(plugin(source, class_name))
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)


def test_methods_may_take_more_than_they_must() -> None:
    source = LAST.replace("choose(self, client_ip)", "choose(self, *args, log=None)")
    assert drawn(guarded(source), 2) == "33"


def test_round_robin_takes_over_for_each_decision_that_fails() -> None:
    policy = guarded(PICKY, "Picky")
    assert [policy.choose(ip).name for ip in (1, 13, 2, 14, 15, 13)] == ["h3", "h1", "h3", "h2", "h3", "h1"]
    assert policy.failures == 4
    assert policy.told() == [
        "mine.py: Picky.choose failed (1 times by now): KeyError: 'thirteen', line 16; round robin takes over",
        "mine.py: Picky.choose failed (2 times by now): it returned None, which is no live member; "
        "round robin takes over",
        "mine.py: Picky.choose failed (4 times by now): KeyError: 'thirteen', line 16; round robin takes over",
    ]
    assert policy.told() == []


def test_a_failure_that_goes_on_fills_no_log() -> None:
    policy = guarded(PICKY, "Picky")
    for _ in range(10_000):
        policy.choose(13)
    assert policy.failures == 10_000
    assert len(policy.told()) == 14


def test_a_dead_member_is_never_taken_from_a_plugin() -> None:
    source = LAST.replace("self.live = live", "self.live = live if len(live) != 1 else self.live")
    made = plugin(source)
    policy = Guarded(made, load(plugin(LAST)), random.Random(1))
    policy._policy = _made(source)
    pool = members(3)
    policy.pool_changed(pool)
    policy.pool_changed(pool[:1])
    assert drawn(policy, 3) == "111"
    assert policy.failures == 3


def _made(source: str) -> object:
    names: dict[str, object] = {}
    exec(textwrap.dedent(source), names)
    cls = names["Last"]
    assert isinstance(cls, type)
    return cls(random.Random(1))


def test_connections_go_on_when_a_plugin_fails_and_the_log_says_so(make_rig: MakeRig) -> None:
    source = PICKY.replace("client_ip == 13", "client_ip & 0xFF == 6")  # h6's
    rig = make_rig(services=[Service(policy="mine")], plugins={"mine": plugin(source, "Picky")})
    assert [rig.connect("h3", 40000 + n) for n in range(3)] == ["h2"] * 3
    assert [rig.connect("h6", 40000 + n) for n in range(4)] == ["h1", "h2", "h1", "h2"]
    rig.advance(0.1)
    told = [note.text for note in rig.notes if note.warning]
    assert [text.partition(": KeyError")[0] for text in told] == [
        f"service0: mine.py: Picky.choose failed ({n} times by now)" for n in (1, 2, 4)
    ]
    assert rig.balancer.assignments[0].failures() == 4


@pytest.mark.parametrize(("says", "live"), [("", 1), ("watches_live = True", 1), ("watches_live = False", None)])
def test_plugin_watches_live_connections_unless_it_says_no(says: str, live: int | None) -> None:
    """Where none are watched, tracked mode saves the packet-in at a connection's end."""
    rig = Rig(services=[Service(policy="mine")], plugins={"mine": plugin(f"{LAST}        {says}\n")}, mode="tracked")
    server = rig.connect("h3", 40001)
    assert rig.balancer.pool.describe_server("service0", server)["live"] == live
    before = rig.packet_ins
    rig.rst("h3", 40001)
    assert rig.packet_ins - before == (live or 0)


def test_plugin_is_told_of_live_connections(make_rig: MakeRig) -> None:
    source = LAST.replace(
        "return self.live[-1]", "return min(self.live, key=lambda m: self.seen.get(m.id, 0))"
    ).replace("self.live = ()", "self.live, self.seen = (), {}")
    source += "\n        def live_changed(self, member):\n            self.seen[member.id] = member.live\n"
    rig = make_rig(services=[Service(policy="mine")], plugins={"mine": plugin(source)})
    assert [rig.connect("h3", 40000 + n) for n in range(4)] == ["h1", "h2", "h1", "h2"]
