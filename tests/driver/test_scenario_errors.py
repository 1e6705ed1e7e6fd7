"""Files with mistakes and what is said about them: data/err/NAME.yaml beside NAME.out, which holds the exact lines.

After a change of wording: run with ACCEPT=1 in the environment, then read the difference of the .out files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lab.driver.errors import UsageError
from lab.driver.scenario import load

DATA = Path(__file__).parent / "data"
WRONG = sorted((DATA / "err").glob("*.yaml"))


def complaint(path: Path | str, *sets: str, **options: str) -> str:
    with pytest.raises(UsageError) as caught:
        load(path, sets, **options)
    return str(caught.value)


@pytest.mark.parametrize("path", WRONG, ids=lambda path: path.stem)
def test_each_mistake_is_told_with_its_place(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    found, wanted = complaint(path.name) + "\n", path.with_suffix(".out")
    if os.environ.get("ACCEPT"):
        wanted.write_text(found, encoding="utf-8")
    assert found == wanted.read_text(encoding="utf-8")


def test_every_expected_output_has_its_file() -> None:
    assert {path.stem for path in (DATA / "err").glob("*.out")} == {path.stem for path in WRONG}


def test_mistakes_come_in_file_order_each_once() -> None:
    heads = [line for line in complaint(DATA / "err" / "many_at_once.yaml").splitlines() if ".yaml:" in line]
    places = [tuple(map(int, line.split(".yaml:")[1].split(":")[:2])) for line in heads]
    assert len(places) >= 10
    assert places == sorted(places)
    assert len(heads) == len(set(heads))


@pytest.mark.parametrize("path", [p for p in WRONG if p.stat().st_size], ids=lambda path: path.stem)
def test_the_underline_stands_below_the_column_that_is_named(path: Path) -> None:
    lines = complaint(path).splitlines()
    for head, source, underline in zip(lines, lines[1:], lines[2:]):
        if underline.lstrip().startswith("| "):
            number, column = map(int, head.split(".yaml:")[1].split(":")[:2])
            assert source.startswith(f"{number} | ")
            assert underline.index("^") == len(f"{number} | ") + column - 1
            assert set(underline.split("^")[1]) <= {"~"}
            assert len(underline) <= len(source) + 1  # a value that isn't there stands behind its key


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("load.reqests=4", 'unknown key "reqests" in "load": did you mean "requests"? known: clients,'),
        ("laod.requests=4", 'unknown key "laod": did you mean "load"?'),
        ("load.requests", "expected a dotted key, = and a value, such as load.requests=400 [option]"),
        ("=4", "expected a dotted key, = and a value"),
        ("load..requests=4", "expected a dotted key, = and a value"),
        ("load.requests=many", '"requests": expected a whole number, found "many" [wrong-type]'),
        ("load.clients=[h3, h33]", 'unknown host "h33": did you mean "h3"?'),
        ("load.clients.7=h3", '"load.clients" is a list of 4, numbered 0 to 3: "7" is not in it [option]'),
        ("load.requests.x=3", '"load.requests" is "40" here and has no key "x" [option]'),
        ("load.clients=[h3", "not YAML:"),
        ("steps.0.load.requests=4", '"steps" is a list of 0: "0" is not in it'),
        ("services.web.policy=raund_robin", 'unknown policy "raund_robin": did you mean "round_robin"?'),
        ("topology.hosts.h2.ip=10.0.0.1", '"h2" and "h1" have the same IP address 10.0.0.1'),
    ],
)
def test_a_mistake_in_an_option_names_the_option(option: str, message: str) -> None:
    text = complaint(DATA / "ok" / "everything.yaml", option)
    assert text.startswith(f"--set {option}: {message}")
    assert "^" not in text


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("topology.hosts=2", 'unknown host "h3"'),
        ("load.requests=", "the load would never end"),
    ],
)
def test_what_an_option_makes_wrong_in_the_file_is_shown_there(option: str, message: str) -> None:
    head = complaint(DATA / "ok" / "everything.yaml", option).splitlines()[0]
    assert head.startswith(f"{Path(os.path.relpath(DATA))}/ok/everything.yaml:")
    assert message in head


def test_a_mistake_of_the_file_that_an_option_replaces_is_none() -> None:
    path = DATA / "err" / "too_many_hosts.yaml"
    assert load(path, ["topology.hosts=1000"]).network().hosts[-1].name == "h1000"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"policy": "randon"}, '--policy randon: unknown policy "randon": did you mean "random"?'),
        ({"mode": "proctive"}, '--mode proctive: unknown mode "proctive": did you mean "proactive"? known: reactive'),
        ({"engine": "nox"}, '--engine nox: unknown engine "nox": did you mean "pox"? known: auto, pox, osken, stock'),
        ({"engine": "stock", "policy": "random"}, "--policy random: engine stock chooses at random by itself"),
        (
            {"engine": "stock", "policy": "round_robin"},
            "--policy round_robin: engine stock chooses at random by itself",
        ),
    ],
)
def test_a_mistake_in_policy_mode_or_engine_names_the_option(options: dict[str, str], message: str) -> None:
    assert complaint(DATA / "ok" / "minimal.yaml", **options).startswith(message)


def test_mistakes_of_file_and_options_come_together() -> None:
    text = complaint(DATA / "err" / "too_many_hosts.yaml", "load.reqests=3", "nonsense", policy="best")
    heads = [line for line in text.splitlines() if line.endswith("]")]
    assert len(heads) == 4
    assert all(head.startswith("--") for head in heads[1:])
    for part in ("too_many_hosts.yaml:2:19:", "--set load.reqests=3:", "--set nonsense:", "--policy best:"):
        assert part in text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x00\x01\x7fELF\xff\xfe", "is no text in UTF-8"),
        (b"name: x\n" + b"#" * 1_000_001, "is too big for a scenario"),
        (b"[" * 5000, "nested too deeply"),
        (b"a: &a [x, x]\n" + b"".join(b"%c: &%c [*%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c]\n" % (c, c, *[c - 1] * 8)
         for c in range(ord("b"), ord("k"))), "aliases of aliases"),
        (b"name: x\nabout: {a: &a [*a]}\n", "an alias inside of what it stands for"),
        (b"name: x\n--- \nname: y\n", "not YAML"),
        (b"\xef\xbb\xbfnome: x\n", ':1:1: unknown key "nome"'),
        (b"name: x\r\nabout: 3\r\n", ":2:8: "),
    ],
    ids=["binary", "big", "deep", "laughs", "recursive", "documents", "byte-order mark", "crlf"],
)  # fmt: skip
def test_whatever_a_file_holds_it_gets_a_sentence(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "odd.yaml").write_bytes(content)
    assert message in complaint(tmp_path / "odd.yaml")
