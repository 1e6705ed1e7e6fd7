"""What `run_lab.py simulate` was asked for, checked.

Rule: a mistake is a UsageError of one sentence that names the option.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from lab.balancer.operations import MAX_MEMBERS
from lab.balancer.policies import BY_CONTROLLER
from lab.balancer.policies.plugin import Plugin, PluginError, is_plugin, load
from lab.balancer.policies.source_hash import DEFAULT_SIZE, MAX_SIZE, check_size
from lab.driver import policy_plugin
from lab.driver.errors import UsageError
from lab.driver.wording import alternatives, quote
from lab.simulate.fleet import PolicyMaker

MOST_SERVERS: Final = MAX_MEMBERS - 10  # some join
LEAST_PER_SERVER: Final = 10  # flows
MOST_FLOWS: Final = 1_000_000_000
MOST_RATE: Final = 100_000_000
MOST_TIMEOUT: Final = 65_535  # s, OpenFlow's


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    flows: int
    servers: tuple[int, ...]
    policies: tuple[PolicyMaker, ...]
    seed: int
    table_sizes: tuple[int, ...]  # the first one is the policies'
    rates: tuple[int, ...]  # new connections per second
    timeouts: tuple[int, ...]  # s, idle
    cpu_us: float | None  # of the controller per connection; None: to be calibrated


def read(options: Mapping[str, str], *, flows: int, seed: int, cpu_us: float | None) -> Settings:
    """From the texts of the options `servers`, `policies`, `table-sizes`, `rates` and `timeouts`, each a list."""
    servers = numbers("servers", options["servers"], 2, MOST_SERVERS)
    _check_flows(flows, max(servers))
    if cpu_us is not None and not 0 < cpu_us <= 1e6:
        raise UsageError(f"--cpu-us must be above 0 and at most 1,000,000 µs, and {cpu_us:g} isn't")
    return Settings(
        flows=flows,
        servers=servers,
        policies=_policies(options["policies"]),
        seed=seed,
        table_sizes=_table_sizes(options["table-sizes"], max(servers)),
        rates=numbers("rates", options["rates"], 1, MOST_RATE),
        timeouts=numbers("timeouts", options["timeouts"], 1, MOST_TIMEOUT),
        cpu_us=cpu_us,
    )


def numbers(option: str, text: str, least: int, most: int) -> tuple[int, ...]:
    """Whole numbers between commas, in rising order, each once."""
    found = set()
    for word in _split(option, text):
        number = int(word) if word.isascii() and word.isdigit() and len(word) < 20 else least - 1
        if not least <= number <= most:
            raise UsageError(f"--{option}: expected whole numbers from {least:,} to {most:,}, found {quote(word)}")
        found.add(number)
    return tuple(sorted(found))


def _split(option: str, text: str) -> list[str]:
    words = [word.strip() for word in text.split(",")]
    if not all(words):
        raise UsageError(f"--{option}: expected a list with commas between, as in 1,2,3, found {quote(text)}")
    return words


def _check_flows(flows: int, servers: int) -> None:
    if flows > MOST_FLOWS:
        raise UsageError(f"--flows: {flows:,} are too many to wait for; at most {MOST_FLOWS:,}")
    least = max(1000, LEAST_PER_SERVER * servers)
    if flows < least:
        raise UsageError(f"--flows: {flows:,} are too few for {servers:,} servers; at least {least:,}")


def _table_sizes(text: str, servers: int) -> tuple[int, ...]:
    """In the order given, each once."""
    words = _split("table-sizes", text)
    sizes = dict.fromkeys(size for word in words for size in numbers("table-sizes", word, 2, MAX_SIZE))
    for size in sizes:
        try:
            check_size(size)
        except ValueError as error:
            raise UsageError(f"--table-sizes: {error}") from None
        if size < servers:
            raise UsageError(f"--table-sizes: {size:,} places are too few for {servers:,} servers")
    return tuple(sizes)


def _policies(text: str) -> tuple[PolicyMaker, ...]:
    names = list(dict.fromkeys(_split("policies", text)))
    for name in names:
        if not is_plugin(name) and name not in BY_CONTROLLER:
            raise UsageError(f"--policies: unknown policy {quote(name)}{alternatives(name, BY_CONTROLLER)}")
    try:
        plugins = _load_plugins(names)
    except PluginError as error:
        raise UsageError(str(error)) from None
    shown = policy_plugin.short_names(names).values()
    return tuple(PolicyMaker(name=name, plugin=plugins.get(name)) for name in shown)


def _load_plugins(names: Sequence[str]) -> dict[str, Plugin]:
    sent = policy_plugin.to_send(names)
    plugins = {p.name: Plugin(file=p.file, class_name=p.class_name, source=p.source) for p in sent}
    for plugin in plugins.values():
        load(plugin)
    return plugins


DEFAULTS: Final = {
    "servers": "10,100,1000",
    "policies": ",".join(BY_CONTROLLER),
    "table-sizes": str(DEFAULT_SIZE),
    "rates": "1000,3000,10000,30000,100000",
    "timeouts": "1,5,10,30,60,300",
}
