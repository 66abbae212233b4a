"""SNAKEPIT_AUTH_* and SNAKEPIT_TLS_*: what is read, and the sentence about each that can't be used."""

from __future__ import annotations

import pytest

from snakepit._environment import InvalidSettings
from snakepit_control_plane.settings import from_environment
from support.issuer import AUDIENCE, NAME, OPERATOR, Issuer

RIGHT = {
    "SNAKEPIT_AUTH": "required",
    "SNAKEPIT_AUTH_KEYS": "https://kubernetes.default.svc/openid/v1/jwks",
    "SNAKEPIT_AUTH_AUDIENCE": AUDIENCE,
    "SNAKEPIT_AUTH_OPERATOR": OPERATOR,
    "SNAKEPIT_AUTH_ISSUER": NAME,
}


def test_without_settings_nothing_is_asked_for() -> None:
    assert from_environment({}).authentication is None
    assert from_environment({**RIGHT, "SNAKEPIT_AUTH": "off"}).authentication is None


def test_the_settings_are_read() -> None:
    found = from_environment(RIGHT).authentication
    assert found == Issuer().settings(keys=RIGHT["SNAKEPIT_AUTH_KEYS"])


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"SNAKEPIT_AUTH": "on"}, "SNAKEPIT_AUTH='on' is unknown: use off or required"),
        ({"SNAKEPIT_AUTH_KEYS": ""}, "SNAKEPIT_AUTH_KEYS is not set, and SNAKEPIT_AUTH=required needs it"),
        ({"SNAKEPIT_AUTH_KEYS": "http://issuer.example/jwks"}, "use https"),
        ({"SNAKEPIT_AUTH_KEYS": "jwks.json"}, "use an https URL, or a path that begins with /"),
        ({"SNAKEPIT_AUTH_AUDIENCE": ""}, "SNAKEPIT_AUTH_AUDIENCE is not set"),
        ({"SNAKEPIT_AUTH_OPERATOR": "operator"}, "is no service account: use system:serviceaccount:NAMESPACE:NAME"),
        ({"SNAKEPIT_AUTH_ISSUER": ""}, "SNAKEPIT_AUTH_ISSUER is not set: name who signs the tokens"),
        ({"SNAKEPIT_TLS_KEY_FILE": "/key"}, "SNAKEPIT_TLS_CERT_FILE and SNAKEPIT_TLS_KEY_FILE: TLS needs both of them"),
        (
            {
                "SNAKEPIT_AUTH": "off",
                "SNAKEPIT_TLS_CERT_FILE": "/crt",
                "SNAKEPIT_TLS_KEY_FILE": "/key",
                "SNAKEPIT_TLS_CLIENT_CA_FILE": "/ca",
            },
            "SNAKEPIT_TLS_CLIENT_CA_FILE needs SNAKEPIT_AUTH=required",
        ),
    ],
)
def test_each_wrong_setting_is_refused_with_a_sentence(wrong: dict[str, str], sentence: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        from_environment({**RIGHT, **wrong})
    assert sentence in str(refused.value)
