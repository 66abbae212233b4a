"""An example or two of each command: shown by its help, and on the page of the command line."""

from __future__ import annotations

from collections.abc import Mapping

EXAMPLES: Mapping[str, tuple[str, ...]] = {
    "snakepit": (
        "snakepit dev pool.yaml",
        "snakepit call default/greetings greet name=Ada",
        "snakepit --kube call default/greetings greet name=Ada",
    ),
    "call": (
        "snakepit call digits classify image=@image.json --timeout 5",
        "snakepit call digits count to=3 --stream",
        "snakepit call notes remember key=a value:='[1, 2]' --session user-42",
        "snakepit call reports render data=@report.csv -O report.pdf --wait",
    ),
    "pools": ("snakepit pools", "snakepit pools -o wide"),
    "workers": ("snakepit workers default/digits", "snakepit workers digits -n team -o json"),
    "tools": ("snakepit tools digits", "snakepit tools digits classify -o yaml"),
    "sessions": ("snakepit sessions digits",),
    "session get": ("snakepit session get digits user-42",),
    "session delete": ("snakepit session delete digits user-42",),
    "session rebind": ("snakepit session rebind digits user-42",),
    "session state": ("snakepit session state digits user-42 -o yaml",),
    "session export": ("snakepit session export digits user-42 -O user-42.json",),
    "session import": ("snakepit session import digits user-42.json --id user-42-again",),
    "doctor": ("snakepit doctor", "snakepit doctor default/digits"),
    "drain": ("snakepit drain digits-0/1",),
    "recycle": ("snakepit recycle digits-0/1",),
    "connect": ("snakepit --kube connect", "snakepit connect --server production --port 7800"),
    "dev": ("snakepit dev pool.yaml --watch", "snakepit dev pools/*.yaml --store redis://localhost:6379/0"),
    "logs": ("snakepit logs", "snakepit logs digits --follow"),
}
