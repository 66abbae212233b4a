"""Where the store is, as one URL: the only parser of it. Pure; every refusal is one sentence that never repeats a password."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

FORMS = (
    "memory:, redis://[user:password@]host[:port][/db], redis+sentinel://host[:port],…/master[/db], redis+cluster://host[:port],…, "
    "or rediss for redis with TLS"
)
_TLS_OPTIONS = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"})
_SENTINEL_OPTIONS = frozenset({"sentinel_username", "sentinel_password"})
# What doesn't fit may be a piece of a password, so it isn't repeated.
_QUOTING = ", and write / : @ # in a password as %2F %3A %40 %23"
_PORTS = {"sentinel": 26379}
_REDIS_PORT = 6379


class InvalidStoreUrl(ValueError):
    """One sentence: what is wrong, and what is right."""


@dataclass(frozen=True)
class StoreUrl:
    """`kind`: memory, single, sentinel or cluster. `tls`: options for the connection; None: no TLS."""

    kind: str
    hosts: tuple[tuple[str, int], ...] = ()
    username: str = ""
    password: str = field(default="", repr=False)
    db: int = 0
    master: str = ""
    tls: dict[str, str] | None = None
    sentinel_username: str = ""
    sentinel_password: str = field(default="", repr=False)


def parse_store_url(text: str) -> StoreUrl:
    """Raises InvalidStoreUrl."""
    if text == "memory:":
        return StoreUrl("memory")
    parts = _split(text)
    base, _, suffix = parts.scheme.partition("+")
    if base not in ("redis", "rediss") or suffix not in ("", "sentinel", "cluster"):
        raise InvalidStoreUrl(f"a store URL can't begin with {parts.scheme or text.partition(':')[0]!r}: use {FORMS}")
    kind, secure = suffix or "single", base == "rediss"
    options = _options(parts, (_TLS_OPTIONS if secure else frozenset()) | (_SENTINEL_OPTIONS if kind == "sentinel" else frozenset()))
    master, db = _path(parts, kind)
    username, password, hosts = _authority(parts.netloc)
    return StoreUrl(
        kind=kind,
        hosts=_hosts(hosts, kind, _PORTS.get(kind, _REDIS_PORT)),
        username=username,
        password=password,
        db=db,
        master=master,
        tls={name: value for name, value in options.items() if name in _TLS_OPTIONS} if secure else None,
        sentinel_username=options.get("sentinel_username", ""),
        sentinel_password=options.get("sentinel_password", ""),
    )


def _split(text: str) -> SplitResult:
    try:
        return urlsplit(text)
    except ValueError as error:
        raise InvalidStoreUrl(f"the store URL can't be read ({error}): use {FORMS}") from None


def _options(parts: SplitResult, allowed: frozenset[str]) -> dict[str, str]:
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    for name in options:
        if name not in allowed:
            known = ", ".join(sorted(allowed)) or "none"
            tls = ", and the ssl_ ones need rediss://" if name in _TLS_OPTIONS else ""
            raise InvalidStoreUrl(f"the store URL has an unknown option {name!r}: {parts.scheme}:// knows {known}{tls}")
    if parts.fragment:
        raise InvalidStoreUrl(f"the store URL has a '#' in it{_QUOTING}")
    return options


def _path(parts: SplitResult, kind: str) -> tuple[str, int]:
    """The master's name, and the database."""
    words = [unquote(word) for word in parts.path.split("/")[1:] if word]
    if kind == "sentinel":
        if not 1 <= len(words) <= 2:
            raise InvalidStoreUrl("a Sentinel URL needs the master's name as its path: redis+sentinel://host:26379/mymaster[/db]")
        return words[0], _db(words[1] if len(words) > 1 else "0")
    if len(words) > 1:
        raise InvalidStoreUrl(f"the store URL's path is no database number: use e.g. /0{_QUOTING}")
    db = _db(words[0] if words else "0")
    if kind == "cluster" and db:
        raise InvalidStoreUrl(f"a Redis Cluster has database 0 alone: leave out /{db}")
    return "", db


def _db(text: str) -> int:
    if not text.isascii() or not text.isdecimal():
        raise InvalidStoreUrl(f"the database of the store URL is no number: use e.g. /0{_QUOTING}")
    return int(text)


def _authority(netloc: str) -> tuple[str, str, str]:
    """User, password, hosts."""
    credentials, _, hosts = netloc.rpartition("@")
    username, _, password = credentials.partition(":")
    return unquote(username), unquote(password), hosts


def _hosts(text: str, kind: str, port: int) -> tuple[tuple[str, int], ...]:
    found = tuple(_host(each, port) for each in text.split(","))
    if kind == "single" and len(found) > 1:
        raise InvalidStoreUrl("redis:// names one host: use redis+sentinel:// or redis+cluster:// for several")
    return found


def _host(text: str, default: int) -> tuple[str, int]:
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
    else:
        host, _, port = text.partition(":")
    if not host:
        raise InvalidStoreUrl(f"the store URL names no host: use e.g. redis://redis:6379/0{_QUOTING}")
    if port and not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
        raise InvalidStoreUrl(f"the port of a host in the store URL is no port: use 1 to 65535{_QUOTING}")
    return host, int(port or default)
