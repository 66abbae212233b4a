"""What to type where a part of Snakepit is missing.

The names of our distributions are not on the public index, so no hint asks it for one: wheels are installed by their paths.
"""

from __future__ import annotations

from snakepit import __version__

_SDK = f"In a checkout of Snakepit: make wheels, then pip install 'dist/snakepit_sdk-{__version__}-py3-none-any.whl"
CLIENT = f"{_SDK}[client]'"
"""What callers of pools need: grpcio and protobuf."""

CLI = f"{_SDK}[cli]'"
"""The command line's libraries, and those of callers."""

OTEL = f"{_SDK}[otel]'"
"""What sends traces."""

WHOLE = "In a checkout of Snakepit: make wheels, then pip install dist/*.whl"
