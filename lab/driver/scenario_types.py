"""What the scenario's models are made of: closed lists of words, texts of a form, and the base of all models.

Rule: a form has one spelling; whoever reads a value here gets that one, however it was written."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final

os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # looking for some reads all that is installed: 20 ms

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError, core_schema

from lab.balancer.policies.plugin import is_plugin, split_name
from lab.driver.wording import alternatives, quote

NAME_RULE: Final = "a letter, then letters, digits, - or _, 8 at most"  # an interface (s1-eth999) has 15 at most
PLUGIN_PATTERN: Final = r"\.py:[A-Za-z_][A-Za-z0-9_]*$"  # for editors
MAX_PORTS: Final = 64  # of a service
RESERVED: Final = ("agent", "all", "lo")  # words of the agent's own


@dataclass(frozen=True)
class OneOf:
    """Annotation: a word of a closed list; a miss names the nearest."""

    what: str
    known: tuple[str, ...]

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> Any:
        return {**handler(schema), "enum": list(self.known)}

    def _check(self, word: str) -> str:
        if word not in self.known:
            text = f"unknown {self.what} {quote(word)}{alternatives(word, self.known)}"
            raise PydanticCustomError("unknown-word", "{text}", {"text": text})
        return word


@dataclass(frozen=True)
class OneOfPolicies(OneOf):
    """Annotation: a policy's name, or a file and class of the user's own; whether that works is checked later."""

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> Any:
        form = handler(schema)
        return {**form, "anyOf": [{"enum": list(self.known)}, {"pattern": PLUGIN_PATTERN}]}

    def _check(self, word: str) -> str:
        if not is_plugin(word):
            return super()._check(word)
        if not split_name(word)[1].isidentifier():
            text = f"name the class too, as in {os.path.basename(split_name(word)[0])}:ClassName"
            raise PydanticCustomError("plug-in", "{text}", {"text": text})
        return word


@dataclass(frozen=True)
class Form:
    """Annotation: a text of a certain form; `read` gives its one spelling or raises ValueError(what is wrong)."""

    read: Callable[[str], str]
    pattern: str  # for editors only; `read` decides

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> Any:
        return {**handler(schema), "pattern": self.pattern}

    def _check(self, text: str) -> str:
        try:
            return self.read(text)
        except ValueError as error:
            raise PydanticCustomError("wrong-form", "{text}", {"text": str(error)}) from None


def _read_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,7}", text):
        raise ValueError(f"{quote(text)} can't be a name here: {NAME_RULE}")
    if text in RESERVED:
        raise ValueError(f"{quote(text)} can't be a name here: it has a meaning of its own")
    return text


def _read_scenario_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", text):
        raise ValueError(f"{quote(text)} can't name a scenario: letters, digits, _ . and - only, 64 at most")
    return text


def _read_ip(text: str) -> str:
    try:
        address = ipaddress.IPv4Address(text)
    except ValueError:
        raise ValueError(f"{quote(text)} is no IPv4 address such as 10.0.1.1") from None
    if address.is_multicast or address.is_loopback or address.packed[0] in (0, 255) or address.packed[0] >= 240:
        raise ValueError(f"{quote(text)} is not an address that a host may have")
    return str(address)


def _read_service_ip(text: str) -> str:
    if ":" not in text:
        return _read_ip(text)
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        raise ValueError(f"{quote(text)} is no address such as 10.0.1.1 or fd00::1:1") from None
    odd = address.is_multicast or address.is_link_local or int(address) >> 32 == 0 or address.scope_id
    if odd or address.ipv4_mapped:
        raise ValueError(f"{quote(text)} is not an address that a host of another link may call")
    return str(address)


def _read_host_ip6(text: str) -> str:
    address, slash, length = text.partition("/")
    if not slash:
        length = "64"
    if ":" not in address or not re.fullmatch(r"[0-9]{1,3}", length) or not 1 <= int(length) <= 126:
        raise ValueError(f"{quote(text)} is no IPv6 address with a prefix length (1 to 126) such as fd00::1/64")
    return str(ipaddress.IPv6Interface(f"{_read_service_ip(address)}/{int(length)}"))


def _read_ports(text: str) -> str:
    found = re.fullmatch(r"([1-9][0-9]{0,4})-([1-9][0-9]{0,4})", text)
    first, last = map(int, found.groups()) if found else (0, 0)
    if not 0 < first < last <= 65_535:
        raise ValueError(f"{quote(text)} is no port, and no range of ports such as 8000-8010")
    if last - first >= MAX_PORTS:
        raise ValueError(f"{quote(text)} are more than {MAX_PORTS} ports: each server of the lab listens on every one")
    return text


def _read_http_path(text: str) -> str:
    if not re.fullmatch("/[!-~]{0,254}", text):
        raise ValueError(f"{quote(text)} is no path: / and then up to 254 visible ASCII characters")
    return text


def _read_host_ip(text: str) -> str:
    address, slash, length = text.partition("/")
    if not slash:
        length = "8"
    if not re.fullmatch(r"[0-9]{1,2}", length) or not 1 <= int(length) <= 30:
        raise ValueError(f"{quote(text)} is no address with a prefix length (1 to 30) such as 10.0.0.1/8")
    interface = ipaddress.IPv4Interface(f"{_read_ip(address)}/{int(length)}")
    if interface.ip in (interface.network.network_address, interface.network.broadcast_address):
        raise ValueError(f"{quote(text)} is the address of the network or its broadcast, no host may have it")
    return str(interface)


def _read_mac(text: str) -> str:
    if not re.fullmatch(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}", text):
        raise ValueError(f"{quote(text)} is no MAC address such as 02:00:0a:00:00:01")
    if int(text[:2], 16) & 1 or text == "00:00:00:00:00:00":
        raise ValueError(f"{quote(text)} is not a MAC address that a host may have")
    return text.lower()


def _read_path(text: str) -> str:
    if not re.fullmatch(r"/[!-~]*", text) or len(text) > 1000 or "#" in text:
        raise ValueError(f"{quote(text)} is no path of a URL such as /slow?seconds=3&bytes=100000")
    return text


_IPV6 = r"^[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*"
_IPV4 = r"^[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+$"
Name = Annotated[str, Form(_read_name, "^[A-Za-z][A-Za-z0-9_-]{0,7}$")]
ScenarioName = Annotated[str, Form(_read_scenario_name, "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
Ip = Annotated[str, Form(_read_ip, _IPV4)]
ServiceIp = Annotated[str, Form(_read_service_ip, rf"{_IPV4}|{_IPV6}$")]
HostIp6 = Annotated[str, Form(_read_host_ip6, rf"{_IPV6}(/[0-9]+)?$")]
HostIp = Annotated[str, Form(_read_host_ip, r"^[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+(/[0-9]+)?$")]
Mac = Annotated[str, Form(_read_mac, "^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}$")]
UrlPath = Annotated[str, Form(_read_path, "^/[!-~]*$")]
HttpPath = Annotated[str, Form(_read_http_path, "^/[!-~]{0,254}$")]
State = Annotated[str, OneOf("state", ("up", "down"))]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Count = Annotated[int, Field(ge=1, le=100_000_000)]
Pair = Annotated[list[Name], Field(min_length=2, max_length=2)]


def either(wanted: str, **tags: type | tuple[type, ...]) -> Discriminator:
    """Tell the forms of a value apart by its type; the tags show in an error's location, where `@` marks them."""

    def tag(value: Any) -> str | None:
        found = (f"@{name}" for name, kind in tags.items() if isinstance(value, kind) and not isinstance(value, bool))
        return next(found, None)

    return Discriminator(tag, custom_error_type="wrong-type", custom_error_message=f"expected {wanted}")


Port = Annotated[
    Annotated[int, Field(ge=1, le=65_535), Tag("@one")]
    | Annotated[str, Form(_read_ports, "^[1-9][0-9]{0,4}-[1-9][0-9]{0,4}$"), Tag("@range")],
    either("a port or a range of ports such as 8000-8010", one=int, range=str),
]


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _note_class(cls, data: Any, info: ValidationInfo) -> Any:
        """Leave in the context which model reads which mapping: an unknown key's error then knows the known ones."""
        if info.context is not None and isinstance(data, dict):
            info.context[id(data)] = cls
        return data
