"""What a bench needs beside what the sandbox needs. Rule: what is missing is one sentence with the command to type.

In containers the image has it all; there the agent says so if one is missing after all.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from lab.bench.options import Options
from lab.bench.variants import Variant
from lab.driver.backends import requirements
from lab.driver.errors import UsageError

PACKAGES = {"wrk": "wrk", "iperf3": "iperf3", "haproxy": "haproxy", "nft": "nftables", "ipvsadm": "ipvsadm"}
OPTIONAL = ("ipvsadm",)  # no use where the kernel has no IPVS, so it is asked for only by those who name the variant


def check(options: Options, variants: Sequence[Variant]) -> None:
    """Raises UsageError where a program of the sandbox's is missing."""
    wanted = ["wrk", *(["iperf3"] if options.bulk else [])]
    for variant in variants:
        wanted += [program for program in variant.programs if options.variants or program not in OPTIONAL]
    packages = [PACKAGES[program] for program in dict.fromkeys(wanted) if not here(program)]
    if packages:
        names = " ".join(packages)
        raise UsageError(f"bench needs Debian packages that are missing: {names}: {requirements.apt_get(packages)}")


def here(program: str) -> bool:
    return shutil.which(program, path=requirements.PATH) is not None
