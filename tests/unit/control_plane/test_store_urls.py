"""One parser for where the store is; a wrong URL is one sentence, and no sentence repeats the password."""

import pytest

from snakepit._environment import InvalidSettings
from snakepit_control_plane.settings import from_environment
from snakepit_control_plane.store.urls import InvalidStoreUrl, StoreUrl, parse_store_url


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("memory:", StoreUrl("memory")),
        ("redis://redis", StoreUrl("single", (("redis", 6379),))),
        ("redis://:s%2Fc%40t@[::1]:7000/3", StoreUrl("single", (("::1", 7000),), password="s/c@t", db=3)),
        ("redis://pit:pw@h:1/0", StoreUrl("single", (("h", 1),), username="pit", password="pw")),
        ("rediss://h/1?ssl_ca_certs=/ca.pem", StoreUrl("single", (("h", 6379),), db=1, tls={"ssl_ca_certs": "/ca.pem"})),
        ("rediss://h", StoreUrl("single", (("h", 6379),), tls={})),
        (
            "redis+sentinel://pit:pw@a,b:7/main/4?sentinel_username=s&sentinel_password=t",
            StoreUrl(
                "sentinel",
                (("a", 26379), ("b", 7)),
                username="pit",
                password="pw",
                db=4,
                master="main",
                sentinel_username="s",
                sentinel_password="t",
            ),
        ),
        ("redis+cluster://a:1,b", StoreUrl("cluster", (("a", 1), ("b", 6379)))),
        ("rediss+cluster://a/0", StoreUrl("cluster", (("a", 6379),), tls={})),
    ],
)
def test_every_form_is_understood(text: str, meant: StoreUrl) -> None:
    assert parse_store_url(text) == meant


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "use memory:"),
        ("http://h", "'http'"),
        ("redis+ring://h", "'redis\\+ring'"),
        ("redis://", "names no host"),
        ("redis://:secret@/0", "names no host"),
        ("redis://h:0/0", "1 to 65535"),
        ("redis://h:70000/0", "1 to 65535"),
        ("redis://a,b/0", "one host"),
        ("redis://h/zero", "no number"),
        ("redis://h/0/1", "no database number"),
        ("redis://h?ssl_ca_certs=/ca.pem", "'ssl_ca_certs'.*rediss://"),
        ("rediss://h?ssl_cert_reqs=none", "'ssl_cert_reqs'"),
        ("redis://:sec#ret@h/0", "%23"),
        ("redis+sentinel://h", "master's name"),
        ("redis+cluster://h/3", "database 0 alone"),
        ("redis://[::1/0", "can't be read"),
    ],
)
def test_a_wrong_url_is_refused_with_one_sentence(text: str, word: str) -> None:
    with pytest.raises(InvalidStoreUrl, match=word) as refused:
        parse_store_url(text)
    assert "secret" not in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://:hunter2@h/zero",
        "redis://:hunter2/@h/0",
        "rediss://:hunter2@h?verify=no",
        "redis://:hunter2@h:port",
        "redis://u:hunter2/@h/0",
        "redis://u:1/hunter2@h/0",
    ],
)
def test_a_refused_setting_never_shows_the_password(url: str) -> None:
    with pytest.raises(InvalidSettings, match="SNAKEPIT_STORE: ") as refused:
        from_environment({"SNAKEPIT_STORE": url})
    assert "hunter2" not in str(refused.value)
    assert "hunter2" not in repr(StoreUrl("single", password="hunter2"))
