"""What is measured, in which order, with what."""

from __future__ import annotations

import shutil

import pytest

from lab.bench import beds, needs, rounds, variants
from lab.bench.options import Options, read_concurrency, read_variants
from lab.bench.rounds import Turn
from lab.driver.errors import UsageError
from lab.driver.scenario_model import POLICIES_KEPT

NAMES = ("direct", "haproxy", "stock")


def test_rounds_alternate_and_each_pass_ends_with_direct() -> None:
    found = list(rounds.turns(Options(rounds=2, concurrency=(1, 16), bulk=False), NAMES))
    order = [*NAMES, "direct"]
    passes = [(round_, concurrency) for round_ in (1, 2) for concurrency in (1, 16)]
    assert found == [Turn(name, round_, concurrency) for round_, concurrency in passes for name in order]


def test_bulk_is_measured_both_ways_in_each_round() -> None:
    found = [t for t in rounds.turns(Options(rounds=2, concurrency=(1,)), ("direct", "haproxy")) if t.direction]
    assert [(t.round, t.direction) for t in found if t.variant == "haproxy"] == [
        (1, "down"),
        (1, "up"),
        (2, "down"),
        (2, "up"),
    ]


def test_bulk_is_measured_before_any_load_has_filled_the_trackers() -> None:
    found = list(rounds.turns(Options(rounds=2, concurrency=(1, 16)), NAMES))
    bulk = [turn.direction is not None for turn in found]
    assert bulk == sorted(bulk, reverse=True)
    assert len(set(bulk)) == 2


def test_direct_alone_is_not_measured_twice() -> None:
    assert len(list(rounds.turns(Options(rounds=1, concurrency=(1,), bulk=False), ("direct",)))) == 1


def test_the_forecast_grows_with_what_is_asked() -> None:
    short, long = (rounds.forecast_s(Options(rounds=1, seconds=s), NAMES) for s in (1, 5))
    assert 0 < short < long


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("1,x", '"x" is no number'), ("", "at least one number"), ("0", "0 is not between"), ("16,9999", "9999 is not")],
)
def test_a_wrong_concurrency_is_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        Options(concurrency=read_concurrency(text))


def test_each_concurrency_and_variant_counts_once() -> None:
    assert read_concurrency("16, 1,16") == (16, 1)
    assert read_variants("direct,direct") == ("direct",)
    assert read_variants(None) is None


@pytest.mark.parametrize("wrong", [{"rounds": 0}, {"seconds": 0}, {"seconds": 601}])
def test_rounds_and_seconds_have_limits(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="is not between"):
        Options(**wrong)  # type: ignore[arg-type]


def test_a_mistyped_variant_gets_the_nearest() -> None:
    with pytest.raises(UsageError, match='unknown variant "pox-traked": did you mean "pox-tracked"'):
        variants.choose(["pox-traked"])


def test_variants_are_measured_in_the_kits_order() -> None:
    assert [v.name for v in variants.choose(["stock", "direct"])] == ["direct", "stock"]
    assert len(variants.choose(None)) == len(variants.VARIANTS)


def test_a_mode_that_the_kit_does_not_know_is_left_out_and_named() -> None:
    (proactive,) = variants.choose(["osken-proactive"])
    assert variants.why_not(proactive, {"reactive": ("round_robin",)}, None) == "this kit has no mode proactive"
    assert variants.why_not(proactive, {"proactive": ("source_hash",)}, None) is None


def test_without_pox_its_variants_are_left_out_and_the_others_are_not() -> None:
    left = {v.name: variants.why_not(v, POLICIES_KEPT, "nowhere") for v in variants.choose(["stock", "osken-tracked"])}
    assert left == {"stock": "there is no POX here: nowhere", "osken-tracked": None}


def test_a_mode_gets_round_robin_or_else_what_it_keeps() -> None:
    kept = {"a": ("random", "round_robin"), "b": ("random", "source_hash"), "c": ("random",)}
    assert [variants.policy_of(mode, kept) for mode in kept] == ["round_robin", "source_hash", "random"]


def test_every_variant_has_a_controller_that_can_be_configured() -> None:
    for variant in variants.VARIANTS:
        if variant.engine and variant.mode in POLICIES_KEPT:
            config = beds.controller(variant, POLICIES_KEPT)
            assert len(config.services) == (1 if variant.engine == "stock" else 2)
            assert config.mode == variant.mode


def test_proactive_mode_is_measured_with_the_switchs_memory_and_without() -> None:
    both = variants.choose(["osken-proactive", "osken-stateless"])
    assert [beds.controller(v, POLICIES_KEPT).stateful for v in both] == [True, False]


def test_the_network_has_servers_without_a_log_and_a_host_for_a_peer() -> None:
    network = beds.network()
    assert {server.host for server in network.servers} == set(beds.SERVERS)
    assert not any(server.log_hits for server in network.servers)
    assert beds.PEER in {host.name for host in network.hosts}
    assert not set(beds.CLIENTS) & {*beds.SERVERS, beds.PEER}


def test_missing_programs_are_one_sentence_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = ("wrk", "haproxy", "ipvsadm")
    which = lambda name, path: None if name in gone else f"/usr/bin/{name}"  # noqa: E731
    monkeypatch.setattr(shutil, "which", which)
    with pytest.raises(UsageError) as error:
        needs.check(Options(), variants.choose(None))
    assert "missing: wrk haproxy: " in str(error.value)  # no IPVS was asked for by name
    assert str(error.value).endswith("apt-get install wrk haproxy")
    with pytest.raises(UsageError, match="wrk ipvsadm"):
        needs.check(Options(variants=("ipvs",)), variants.choose(["ipvs"]))


def test_what_no_chosen_variant_needs_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name, path: None if name != "wrk" else "/usr/bin/wrk")
    needs.check(Options(variants=("direct",), bulk=False), variants.choose(["direct"]))
