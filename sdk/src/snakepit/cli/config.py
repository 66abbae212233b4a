"""`~/.config/snakepit/config.toml`: defaults, and servers by name. Every fault names the file and the key."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from snakepit._names import did_you_mean
from snakepit.errors import InvalidArguments

T = TypeVar("T", bound=msgspec.Struct)


class Kube(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """A release in a cluster, as far as it was said which one. `service_account`: whose token calls bring, NAME or NAMESPACE/NAME."""

    context: str | None = None
    namespace: str | None = None
    release: str | None = None
    service_account: str | None = None


class Server(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """A control plane, by its address or by where kubectl finds it. `namespace`: of pools whose name has none."""

    address: str | None = None
    token_file: str | None = None
    ca_file: str | None = None
    namespace: str | None = None
    kube: Kube | None = None


class Config(msgspec.Struct, frozen=True):
    """What the file at `path` says. `server` is a name of `servers`, or an address."""

    path: Path
    server: str | None = None
    namespace: str | None = None
    servers: Mapping[str, Server] = {}


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    server: str | None = None
    namespace: str | None = None
    servers: dict[str, dict[str, Any]] = {}


def path(environment: Mapping[str, str]) -> Path:
    """The path at which the file is looked for."""
    base = environment.get("XDG_CONFIG_HOME") or f"{environment.get('HOME') or '~'}/.config"
    return Path(base).expanduser() / "snakepit" / "config.toml"


def load(file: Path) -> Config:
    """Read the file, which need not be there. Raises InvalidArguments."""
    try:
        text = file.read_text()
    except FileNotFoundError:
        return Config(file)
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArguments(f"{file} can't be read: {getattr(error, 'strerror', None) or 'it is not UTF-8 text'}") from error
    return parse(text, file)


def parse(text: str, file: Path) -> Config:
    """Read the text of the file. Raises InvalidArguments."""
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidArguments(f"{file} is not TOML: {error}") from error
    whole = _convert(found, _File, str(file), "")
    servers = {name: _server(value, file, name) for name, value in whole.servers.items()}
    if whole.server is not None and ":" not in whole.server and whole.server not in servers:
        raise InvalidArguments(f"{file}: server: {_no_server(whole.server, servers)}")
    return Config(file, whole.server, whole.namespace, servers)


def named(config: Config, server: str) -> Server:
    """Find the server of that name, or at that address. Raises InvalidArguments."""
    if server in config.servers:
        return config.servers[server]
    if ":" in server:
        return Server(address=server)
    raise InvalidArguments(f"{_no_server(server, config.servers)}; an address is host:port, and names are in {config.path}")


def _server(value: dict[str, Any], file: Path, name: str) -> Server:
    found = _convert(value, Server, str(file), f"servers.{name}.")
    if (found.address is None) == (found.kube is None):
        raise InvalidArguments(f'{file}: servers.{name}: say where it is, with address = "host:port" or kube = {{…}}, and not both')
    return found


def _convert(value: dict[str, Any], kind: type[T], file: str, prefix: str) -> T:
    """Convert field by field: msgspec says what is wrong, but not with which server."""
    fields = {each.encode_name: each for each in msgspec.structs.fields(kind)}
    for key, given in value.items():
        if key not in fields:
            raise InvalidArguments(f"{file}: {prefix}{key}: there is no such key; {did_you_mean(key, fields) or _list(fields)}")
        if key == "kube" and isinstance(given, dict):
            _convert(given, Kube, file, f"{prefix}kube.")
        try:
            msgspec.convert(given, fields[key].type)
        except msgspec.ValidationError as error:
            raise InvalidArguments(f"{file}: {prefix}{key}: {error}") from error
    return msgspec.convert(value, kind)


def _no_server(name: str, servers: Mapping[str, object]) -> str:
    return f"no server is named {name!r}{f'; {_list(servers)}' if servers else ''}"


def _list(names: Mapping[str, object]) -> str:
    return f"there are {', '.join(sorted(names))}" if len(names) > 1 else f"there is {', '.join(names)}"
