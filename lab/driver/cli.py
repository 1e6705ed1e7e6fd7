"""The command line: `run_lab.py [OPTIONS] SCENARIO…`, and the commands beside it. Options in, exit code out.

The one rule: nothing heavy is imported up here. Each command imports what it needs when it is called, so `--help`
answers at once; and nothing leaves `main` but an exit code: every failure is one clear sentence on stderr.
"""

from __future__ import annotations

import errno
import io
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click

from lab import __version__
from lab.driver.errors import LabError, UsageError

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_BROKEN, EXIT_INTERRUPTED = 0, 1, 2, 3, 130
NO_READER: Final = (errno.EPIPE, errno.EIO)  # the pipe's other end, or the terminal, is gone
NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)
EXIT_NO_READER = 141  # as of any program that SIGPIPE ends
DEFAULT_SCENARIO: Final = "scenarios/round_robin.yaml"


class LabGroup(click.Group):
    """Commands, and `run` as the one that is meant when none is named."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.commands and not _looks_like_command(args[0]):
            return super().resolve_command(ctx, ["run", *args])
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own = {"--help", "-h", "--version"}
        if args and args[0].startswith("-") and args[0] not in own:
            args = ["run", *args]
        return super().parse_args(ctx, args)

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_usage(ctx.command_path, "[OPTIONS] SCENARIO...  |  COMMAND [ARGS]...")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The options of `run` too, since it need not be named."""
        run_params = [param.get_help_record(ctx) for param in self.commands["run"].params]
        with formatter.section("Options of a run"):
            formatter.write_dl([record for record in run_params if record])
        super().format_options(ctx, formatter)


def _looks_like_command(word: str) -> bool:
    """A bare word that is no file here: more likely a mistyped command than a scenario."""
    return not any(mark in word for mark in "./\\") and not Path(word).exists() and _is_near_command(word)


def _is_near_command(word: str) -> bool:
    from lab.driver.wording import nearest

    return nearest(word, cli.commands) is not None


@click.group(
    cls=LabGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 every expectation held, 1 one failed, 2 wrong command line or scenario, "
    "3 the lab broke, passed its time limit or left something behind, 130 interrupted, 141 nobody reads the output.",
)
@click.version_option(__version__, prog_name="balance-lab")
def cli() -> None:
    """An SDN load-balancing lab in one command: runs SCENARIO files and says how many requests each server got."""


def _scenario_options(command: Any) -> Any:
    """Options that change a scenario, the same for every command that reads one."""
    for option in (
        click.option("--set", "sets", metavar="KEY=VALUE", multiple=True, help="Change a key of the scenario."),
        click.option("--mode", metavar="NAME", help="Who decides and who remembers: reactive, tracked."),
        click.option(
            "--policy", metavar="NAME", help="How a server is chosen: round_robin … or path/to/file.py:Class."
        ),
        click.option("--engine", metavar="NAME", help="Controller: auto, pox, osken, stock."),
    ):
        command = option(command)
    return command


def _backend_option(command: Any) -> Any:
    return click.option(
        "--backend", metavar="NAME", default="auto", help="Where the lab runs: auto, compose, sandbox."
    )(command)


@cli.command()
@click.argument("scenarios", nargs=-1, required=True, metavar="SCENARIO...")
@_backend_option
@_scenario_options
@click.option("--out", default="runs", metavar="DIR", help="Folder for the runs' folders.  [runs]")
@click.option("--json", "as_json", is_flag=True, help="A line of JSON per scenario on stdout, all else on stderr.")
@click.option("--junit", metavar="FILE", help="Write JUnit XML, a test case per expectation.")
@click.option("--keep", is_flag=True, help="Leave the lab running.")
@click.option("--verbose", is_flag=True, help="A line per decision in controller.log.")
def run(scenarios: tuple[str, ...], backend: str, out: str, junit: str | None, **options: Any) -> int:
    """Run scenarios, one after the other (the default command)."""
    from lab.driver.backends.ahead import Ahead
    from lab.driver.backends.former_runs import FormerRuns

    words = [repr(word) for word in (scenarios, backend, out, junit, sorted(options.items()))]
    with Ahead(FormerRuns(words, scenarios), keep=options["keep"]) as ahead:  # comes up beside the next import
        from lab.driver.commands import run_scenarios

        overrides = {key: options.pop(key) for key in ("sets", "policy", "mode", "engine")}
        return run_scenarios(
            scenarios, overrides, ahead, backend=backend, out=Path(out), junit=Path(junit) if junit else None, **options
        )


@cli.command()
@click.argument("scenario", default=DEFAULT_SCENARIO)
@click.option("--name", help="Of the lab; default: the scenario's.")
@_backend_option
@_scenario_options
@click.option("--verbose", is_flag=True, help="A line per decision in the controller's log.")
def up(scenario: str, name: str | None, backend: str, verbose: bool, **overrides: Any) -> int:
    """Bring a lab up and leave it running (the tutorial's, where no SCENARIO is named)."""
    from lab.driver.commands import bring_up

    return bring_up(scenario, overrides, name=name, backend=backend, verbose=verbose)


@cli.command()
@click.argument("name", required=False)
@click.option("--all", "every", is_flag=True, help="All labs that are kept running.")
def down(name: str | None, every: bool) -> int:
    """End a kept lab: NAME, or the newest."""
    from lab.driver.commands import take_down

    return take_down(name, every)


@cli.command()
def status() -> int:
    """Show the labs that are kept running."""
    from lab.driver.commands import show_status

    return show_status()


@cli.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--lab", "name", metavar="NAME", help="Which kept lab; default: the newest.")
@click.option("--timeout", "timeout_s", default=60.0, show_default=True, metavar="SECONDS")
@click.argument("host")
@click.argument("argv", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- COMMAND...")
def exec_(name: str | None, timeout_s: float, host: str, argv: tuple[str, ...]) -> int:
    """Run a command on a HOST (or switch) of a kept lab: exec h3 -- curl http://10.0.1.1/

    Its exit code is the command's."""
    from lab.driver.commands import run_on_host

    return run_on_host(name, host, list(argv[1:] if argv[0] == "--" else argv), timeout_s)


def _pool_options(command: Any) -> Any:
    """Options of every `pool` command; they may stand before the action as well as behind it."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="As JSON."),
        click.option("--service", metavar="NAME", help="Whose pool; default: the only service's."),
        click.option("--lab", metavar="NAME", help="Which kept lab; default: the newest."),
    ):
        command = option(command)
    return command


def _where() -> Any:
    """What an action's options say, else those of `pool`."""
    from lab.driver.pool import Where

    ctx = click.get_current_context()
    own, outer = ctx.params, ctx.parent.params if ctx.parent and ctx.parent.command is pool else {}
    return Where(**{name: own.get(name) or outer.get(name) or default for name, default in _ANYWHERE.items()})


_ANYWHERE: Final[dict[str, Any]] = {"lab": None, "service": None, "as_json": False}


@cli.group(invoke_without_command=True)
@_pool_options
def pool(**_: Any) -> int:
    """List or change the servers of a kept lab while they serve: pool drain h2"""
    return EXIT_OK if click.get_current_context().invoked_subcommand else _list_pool()


@pool.command("list")
@_pool_options
def pool_list(**_: Any) -> int:
    """List the pools (also where no action is named)."""
    return _list_pool()


def _list_pool() -> int:
    from lab.driver.pool import show_pool

    return show_pool(_where())


def _pool_action(name: str, about: str, *params: Any) -> None:
    """An action on one SERVER of a pool, as a command."""

    def act(server: str, ip: str | None = None, weight: int | None = None, **_: Any) -> int:
        from lab.driver.pool import change_pool

        return change_pool(_where(), server, name, ip=ip, weight=weight)

    command: Any = act
    for param in (*reversed(params), click.argument("server")):
        command = param(command)
    pool.command(name, help=about)(_pool_options(command))


_pool_action(
    "add",
    "Add a host as a SERVER; it gets connections once it is up.",
    click.option("--weight", type=int, default=1, show_default=True, help="1 to 256."),
    click.option("--ip", metavar="ADDRESS", help="Default: the address of the host of that name."),
)
_pool_action("drain", "No new connections to SERVER; those it has may finish.")
_pool_action("enable", "New connections to SERVER again.")
_pool_action("remove", "Take SERVER out; its connections are over.")
_pool_action("weight", "Give SERVER another WEIGHT, 1 to 256.", click.argument("weight", type=int))


@cli.command()
@click.option("--lab", metavar="NAME", help="Which kept lab; default: the newest.")
def metrics(lab: str | None) -> int:
    """Print a kept lab's metrics in Prometheus' text format."""
    from lab.driver.pool import show_metrics

    return show_metrics(lab)


@cli.command()
@click.argument("scenarios", nargs=-1, required=True, metavar="SCENARIO...")
@_scenario_options
def validate(scenarios: tuple[str, ...], **overrides: Any) -> int:
    """Check scenarios without running them."""
    from lab.driver.commands import load_all

    for scenario in load_all(scenarios, overrides):
        click.echo(f"{scenario.path}: {scenario.name} is sound")
    return EXIT_OK


@cli.command("list")
def list_() -> int:
    """List the scenarios that come with the kit."""
    from lab.driver.commands import list_scenarios

    return list_scenarios()


@cli.command()
def schema() -> int:
    """Print the JSON Schema of scenario files, for editors."""
    import json

    from lab.driver.scenario import json_schema

    click.echo(json.dumps(json_schema(), indent=2))
    return EXIT_OK


@cli.command()
def doctor() -> int:
    """Say what this machine can run, what is missing, and the command that mends it."""
    from rich.console import Console

    from lab.driver.doctor import examine, show

    found = examine()
    show(found, Console())
    return found.exit_code


@cli.command()
@click.argument("run_folder", default="runs/latest", metavar="[RUN]")
def report(run_folder: str) -> int:
    """Write report.html anew for a finished RUN's folder (default: the latest)."""
    from lab.driver.commands import write_report

    return write_report(Path(run_folder))


@cli.command()
@click.option("--flows", type=int, default=100_000, show_default=True, metavar="N", help="Flows of each policy.")
@click.option("--servers", metavar="N,…", help="Sizes of the pool.  [10,100,1000]")
@click.option("--policies", metavar="NAME,…", help="Also path/to/file.py:Class.  [all of the kit's]")
@click.option("--seed", type=int, default=1, show_default=True, help="The same one gives the same figures.")
@click.option("--table-sizes", metavar="N,…", help="Of the hash table, primes; policies have the first.  [65537]")
@click.option("--cpu-us", type=float, metavar="µs", help="Controller's CPU per connection.  [measured here]")
@click.option("--rates", metavar="N,…", help="New connections per second.  [1000,3000,10000,30000,100000]")
@click.option("--timeouts", metavar="S,…", help="Idle time-outs of rules.  [1,5,10,30,60,300]")
@click.option("--out", default="runs", metavar="DIR", help="Folder for the results' folder.  [runs]")
def simulate(flows: int, seed: int, cpu_us: float | None, out: str, **lists: str | None) -> int:
    """Simulate millions of flows and up to 1,000 servers: evenness, disruption, churn, load, rules."""
    from lab.simulate import command, settings

    given = {name.replace("_", "-"): text for name, text in lists.items() if text is not None}
    return command.run({**settings.DEFAULTS, **given}, flows=flows, seed=seed, cpu_us=cpu_us, out=Path(out))


@cli.command()
@click.option(
    "--variants", metavar="A,B", help="Which, of direct, haproxy, nftables, ipvs, pox-tracked …; default: all."
)
@click.option(
    "--rounds", default=5, show_default=True, metavar="N", help="Every variant is measured so often, in turn."
)
@click.option("--seconds", default=2, show_default=True, metavar="N", help="Of each measurement.")
@click.option("--concurrency", default="1,16,64,256", show_default=True, metavar="N,N", help="Connections at a time.")
@click.option("--bulk/--no-bulk", default=True, help="Measure throughput of one stream too.  [bulk]")
@_backend_option
@click.option("--out", default="runs", metavar="DIR", help="Folder for the bench's folder.  [runs]")
def bench(variants: str | None, rounds: int, seconds: int, concurrency: str, bulk: bool, backend: str, out: str) -> int:
    """Measure engines and modes beside HAProxy, nftables and no balancer at all (docs/performance.md)."""
    from lab.bench.options import Options, read_concurrency, read_variants

    options = Options(
        variants=read_variants(variants),
        rounds=rounds,
        seconds=seconds,
        concurrency=read_concurrency(concurrency),
        bulk=bulk,
    )
    from lab.bench.command import run as run_bench

    return run_bench(options, backend=backend, out=Path(out))


@cli.command("base-image")
@click.option("--anew", is_flag=True, help="Also where there is one.")
def base_image(anew: bool) -> int:
    """Make the Debian base image from Debian's packages, where no image can be pulled."""
    from lab.driver.base_image import make

    make(anew=anew, say=click.echo)
    return EXIT_OK


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; gives the exit code and raises nothing."""
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115  the shell's `>&-` has closed it
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without Unicode gets question marks, not a failure
    try:
        code = _run_command(sys.argv[1:] if argv is None else list(argv))
        sys.stdout.flush()  # here, where a failure can be told
        sys.stderr.flush()
        return code
    except SystemExit as end:  # rich's own answer to a broken pipe
        if not isinstance(end.__context__, BrokenPipeError):
            raise
        return _leave_without_reader()
    except OSError as error:
        if error.errno in NO_READER:
            return _leave_without_reader()
        _discard_output()
        return _say(f"the output can't be written: {error.strerror or error}", EXIT_BROKEN)


def _run_command(argv: list[str]) -> int:
    """The exit code. Click's own `main` is passed over: it would make an exit code of its own of a broken pipe."""
    try:
        with cli.make_context("run_lab.py", argv) as ctx:
            return cli.invoke(ctx) or EXIT_OK
    except click.exceptions.Exit as end:  # --help, --version
        return end.exit_code
    except (click.exceptions.Abort, KeyboardInterrupt):
        return _say("interrupted", EXIT_INTERRUPTED)
    except click.exceptions.NoArgsIsHelpError as error:
        return _say(error.format_message(), EXIT_USAGE)
    except click.ClickException as error:
        return _say(_usage_sentence(error), EXIT_USAGE)
    except (UsageError, LabError) as error:
        return _say(str(error), error.exit_code)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in NO_READER + NO_ROOM:
            raise
        return _say(f"internal error: {type(error).__name__}: {error}{_keep_trace()}", EXIT_BROKEN)


def _leave_without_reader() -> int:
    """Nobody reads us any more (`| head -1`): so no word more, not even of what is left in the buffers."""
    _discard_output()
    os.dup2(1, 2)
    return EXIT_NO_READER


def _discard_output() -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)


def _usage_sentence(error: click.ClickException) -> str:
    """Click's message in the kit's own words: what was found, the nearest right word, what to do."""
    from lab.driver.wording import alternatives, nearest, quote

    if isinstance(error, click.NoSuchOption):
        near = nearest(error.option_name, error.possibilities or _options_of(error.ctx))
        hint = f": did you mean {quote(near)}?" if near else f" (see {_help_command(error.ctx)})"
        return f"unknown option {quote(error.option_name)}{hint}"
    if isinstance(error, click.UsageError) and error.message.startswith("No such command"):
        word = error.message.split("'")[1]
        group = error.ctx.command if error.ctx and isinstance(error.ctx.command, click.Group) else cli
        return f"unknown command {quote(word)}{alternatives(word, sorted(group.commands))}"
    message = error.format_message().rstrip(".")
    return message[:1].lower() + message[1:]


def _options_of(ctx: click.Context | None) -> list[str]:
    return [name for param in ctx.command.params for name in param.opts] if ctx else []


def _help_command(ctx: click.Context | None) -> str:
    return f"{ctx.command_path if ctx else 'run_lab.py'} --help"


def _say(sentence: str, code: int) -> int:
    print(sentence, file=sys.stderr)
    return code


def _keep_trace() -> str:
    """Where the details of an internal error are: in a file, since a user has no use for a traceback."""
    from lab.driver.pox_supply import cache_folder

    path = cache_folder() / "driver-trace.txt"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(traceback.format_exc())
    except OSError:
        return ""
    return f" (details: {path})"
