"""The variants of a bench: what stands between client and server. A new one is a row of VARIANTS.

Rule: a variant that can't be had here (a mode the kit doesn't know, no POX) is left out and named, with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from lab.driver.errors import UsageError
from lab.driver.wording import alternatives, quote


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """Either a controller (`engine`, `mode`), another balancer on a host (`peer`), or neither: straight to a server.
    stateful: of mode proactive, whether the switch's tracker keeps each connection where it is."""

    name: str
    engine: str | None = None
    mode: str | None = None
    stateful: bool = True
    peer: str | None = None
    programs: tuple[str, ...] = ()  # that it needs beside wrk

    @property
    def needs_pox(self) -> bool:
        return self.engine in ("pox", "stock")


DIRECT: Final = "direct"  # the limit of this lab, and what all others are divided by
VARIANTS: Final = (
    Variant(name=DIRECT),
    Variant(name="haproxy", peer="haproxy", programs=("haproxy",)),
    Variant(name="nftables", peer="nftables", programs=("nft",)),
    Variant(name="ipvs", peer="ipvs", programs=("ipvsadm", "nft")),
    Variant(name="pox-tracked", engine="pox", mode="tracked"),
    Variant(name="osken-tracked", engine="osken", mode="tracked"),
    Variant(name="osken-proactive", engine="osken", mode="proactive"),
    Variant(name="osken-stateless", engine="osken", mode="proactive", stateful=False),
    Variant(name="pox-reactive", engine="pox", mode="reactive"),
    Variant(name="osken-reactive", engine="osken", mode="reactive"),
    Variant(name="stock", engine="stock", mode="reactive"),  # last: its rules take 10 s to leave the switch
)
NAMES: Final = tuple(variant.name for variant in VARIANTS)
REFERENCES: Final = (DIRECT, "haproxy", "stock")  # what the others are compared with
PREFERRED: Final = ("round_robin", "source_hash")  # the policy of a mode: the first of these that it keeps exactly


def choose(names: Sequence[str] | None) -> list[Variant]:
    """The variants named, in the order of VARIANTS; None: all. Raises UsageError for a name that isn't known."""
    for name in names or ():
        if name not in NAMES:
            raise UsageError(f"unknown variant {quote(name)}{alternatives(name, NAMES)}")
    return [variant for variant in VARIANTS if names is None or variant.name in names]


def policy_of(mode: str, kept: Mapping[str, Sequence[str]]) -> str:
    """kept: mode → the policies that it keeps exactly."""
    return next((policy for policy in PREFERRED if policy in kept[mode]), kept[mode][0])


def why_not(variant: Variant, kept: Mapping[str, Sequence[str]], no_pox: str | None) -> str | None:
    """Why a variant can't be had here; None: it can. no_pox: why there is no POX."""
    if variant.mode is not None and variant.mode not in kept:
        return f"this kit has no mode {variant.mode}"
    if variant.needs_pox and no_pox is not None:
        return f"there is no POX here: {no_pox}"
    return None
