"""The configuration file, and who decides where a command goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from snakepit.cli.config import Config, Kube, Server, load, named, parse, path
from snakepit.cli.target import Target, TargetOptions, resolve
from snakepit.errors import InvalidArguments
from support.pages import blocks

FILE = Path("/somewhere/config.toml")
WHOLE = """
server = "staging"
namespace = "team"

[servers.staging]
address = "staging.example:7800"
token-file = "/tokens/staging"

[servers.production]
kube = {context = "prod", namespace = "snakepit-system", release = "snakepit", service-account = "robot"}
namespace = "shop"
"""


def test_a_file_names_servers_and_defaults() -> None:
    found = parse(WHOLE, FILE)
    assert (found.server, found.namespace) == ("staging", "team")
    assert found.servers["staging"] == Server(address="staging.example:7800", token_file="/tokens/staging")
    assert found.servers["production"].kube == Kube("prod", "snakepit-system", "snakepit", "robot")


def test_the_file_that_the_page_shows_is_read() -> None:
    (page,) = [block.text for block in blocks("docs/command-line.md", "toml")]
    found = parse(page, FILE)
    assert (found.server, found.namespace) == ("staging", "team")
    assert found.servers["staging"].ca_file == "~/.config/snakepit/staging.ca.crt"
    assert found.servers["production"].kube == Kube("production", "snakepit-system", "snakepit", "robot")


def test_no_file_says_nothing(tmp_path: Path) -> None:
    assert load(tmp_path / "nothing.toml") == Config(tmp_path / "nothing.toml")


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({"HOME": "/home/ada"}, "/home/ada/.config/snakepit/config.toml"),
        ({"HOME": "/home/ada", "XDG_CONFIG_HOME": "/etc/xdg"}, "/etc/xdg/snakepit/config.toml"),
    ],
)
def test_it_is_where_such_files_are(environment: dict[str, str], found: str) -> None:
    assert path(environment) == Path(found)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("server = [", "/somewhere/config.toml is not TOML: "),
        ("sever = 'a'", "/somewhere/config.toml: sever: there is no such key; did you mean server?"),
        ("zzz = 1", "there is no such key; there are namespace, server, servers"),
        ("server = 3", "/somewhere/config.toml: server: Expected `str | null`, got `int`"),
        ("server = 'a'", "/somewhere/config.toml: server: no server is named 'a'"),
        ("servers = 1", "/somewhere/config.toml: servers: Expected `object`, got `int`"),
        ("[servers.a]\nadress = 'b:1'", "servers.a.adress: there is no such key; did you mean address?"),
        ("[servers.a]\naddress = 1", "servers.a.address: Expected `str | null`, got `int`"),
        ("[servers.a]\n", "servers.a: say where it is, with address"),
        ("[servers.a]\naddress = 'b:1'\nkube = {}", "servers.a: say where it is, with address"),
        ("[servers.a]\nkube = {contxt = 'b'}", "servers.a.kube.contxt: there is no such key; did you mean context?"),
        (
            "[servers.a]\nkube = {service-acount = 'b'}",
            "servers.a.kube.service-acount: there is no such key; did you mean service-account?",
        ),
        ("[servers.a]\nkube = {context = 1}", "servers.a.kube.context: Expected `str | null`, got `int`"),
    ],
)
def test_a_fault_names_the_file_and_the_key(text: str, sentence: str) -> None:
    with pytest.raises(InvalidArguments) as caught:
        parse(text, FILE)
    assert sentence in str(caught.value)
    assert str(FILE) in str(caught.value)


def test_what_can_not_be_read_is_said(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_bytes(b"\xff")
    with pytest.raises(InvalidArguments, match="can't be read: it is not UTF-8"):
        load(file)
    with pytest.raises(InvalidArguments, match="can't be read: Is a directory"):
        load(tmp_path)


def test_a_server_is_a_name_or_an_address() -> None:
    found = parse(WHOLE, FILE)
    assert named(found, "here:1") == Server(address="here:1")
    with pytest.raises(InvalidArguments, match="'stagin'; there are production, staging; an address is host:port, and names are in /"):
        named(found, "stagin")
    with pytest.raises(InvalidArguments, match="no server is named 'localhost'; an address is host:port, and names are in /somewhere"):
        named(Config(FILE), "localhost")


ANYWHERE = Config(FILE)
FOUND = parse(WHOLE, FILE)
RELEASE = ("snakepit-system", "snakepit")


@pytest.mark.parametrize(
    ("asked", "environment", "settings", "target"),
    [
        (TargetOptions(), {}, ANYWHERE, Target()),
        (TargetOptions(), {"SNAKEPIT_SERVER": "a:1", "SNAKEPIT_TOKEN_FILE": "/t"}, ANYWHERE, Target("a:1", "/t")),
        (TargetOptions(server="b:1"), {"SNAKEPIT_SERVER": "a:1"}, FOUND, Target("b:1", None, "team")),
        (TargetOptions(), {"SNAKEPIT_SERVER": "a:1"}, FOUND, Target("a:1", None, "team")),
        (TargetOptions(), {}, FOUND, Target("staging.example:7800", "/tokens/staging", "team")),
        (TargetOptions(namespace="mine"), {}, FOUND, Target("staging.example:7800", "/tokens/staging", "mine")),
        (TargetOptions(server="production"), {}, FOUND, Target("", None, "shop", Kube("prod", *RELEASE, "shop/robot"))),
        (TargetOptions(server="production", context="x"), {}, FOUND, Target("", None, "shop", Kube("x", *RELEASE, "shop/robot"))),
        (
            TargetOptions(server="production", namespace="n", service_account="r"),
            {},
            FOUND,
            Target("", None, "n", Kube("prod", *RELEASE, "n/r")),
        ),
        (
            TargetOptions(kube=True),
            {"SNAKEPIT_SERVER": "a:1"},
            ANYWHERE,
            Target("", None, "default", Kube(None, None, None, "default/default")),
        ),
        (TargetOptions(kube=True), {}, FOUND, Target("", None, "team", Kube(None, None, None, "team/default"))),
        (
            TargetOptions(kube=True, namespace="n", release="r", service_account="shop/robot"),
            {},
            ANYWHERE,
            Target("", None, "n", Kube(None, "n", "r", "shop/robot")),
        ),
    ],
)
def test_options_come_before_the_environment_and_that_before_the_file(
    asked: TargetOptions, environment: dict[str, str], settings: Config, target: Target
) -> None:
    assert resolve(asked, environment, settings) == target


def test_options_after_the_command_come_before_those_in_front_of_it() -> None:
    assert TargetOptions(server="b:1", namespace="n").over(TargetOptions(server="a:1", kube=True)) == TargetOptions(
        server="b:1", kube=True, namespace="n"
    )


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (TargetOptions(kube=True, server="a:1"), "give --server or --kube, not both"),
        (TargetOptions(context="c"), "give --kube too"),
        (TargetOptions(release="r"), "give --kube too"),
    ],
)
def test_options_that_contradict_each_other_are_refused(asked: TargetOptions, sentence: str) -> None:
    with pytest.raises(InvalidArguments, match=sentence):
        resolve(asked, {}, ANYWHERE)
