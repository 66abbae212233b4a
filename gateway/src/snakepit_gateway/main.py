"""The program `snakepit-gateway`: settings, logs, one HTTP server, and a clean end on TERM or INT."""

from __future__ import annotations

import snakepit._grpc_threads  # noqa: F401  # before gRPC is loaded

# isort: split
import os
import socket

from snakepit import Client
from snakepit._telemetry import tracing
from snakepit._telemetry.logs import configure_logging, fail
from snakepit_gateway.app import make_app
from snakepit_gateway.server import Server
from snakepit_gateway.settings import Settings, from_environment


def main() -> None:
    """Exit 0 after TERM, 1 with one sentence when it can't start."""
    try:
        configure_logging("gateway")
        settings = from_environment(os.environ)
        inherited = [] if settings.file_descriptor is None else [socket.socket(fileno=settings.file_descriptor)]
        tracing.configure("snakepit-gateway")
        server(settings, Client()).run(inherited or None)
    except ValueError as error:  # of settings, or of a certificate
        fail(str(error))
    finally:
        tracing.shutdown()


def server(settings: Settings, client: Client) -> Server:
    """It ends itself on TERM or INT. Raises ValueError with a sentence where its certificate can't be used."""
    app = make_app(settings, client)
    return Server(app, settings, app.state.gateway.leaving)


if __name__ == "__main__":
    main()
