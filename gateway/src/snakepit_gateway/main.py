"""The program `snakepit-gateway`: settings, logs, one HTTP server, and a clean end on TERM or INT."""

from __future__ import annotations

import snakepit._grpc_threads  # noqa: F401  # before gRPC is loaded

# isort: split
import os
import socket
import sys
from types import FrameType

import uvicorn

from snakepit import Client
from snakepit._environment import InvalidSettings
from snakepit._telemetry import tracing
from snakepit._telemetry.logs import configure_logging
from snakepit_gateway.app import make_app
from snakepit_gateway.settings import Settings, from_environment


def main() -> None:
    """Exit 0 after TERM, 1 with one sentence when it can't start."""
    try:
        settings = from_environment(os.environ)
        configure_logging("gateway")
        inherited = [] if settings.file_descriptor is None else [socket.socket(fileno=settings.file_descriptor)]
        server(settings, Client()).run(inherited or None)
    except InvalidSettings as error:
        sys.exit(str(error))
    finally:
        tracing.shutdown()


class Server(uvicorn.Server):
    """Answers without an end are told before it waits for all answers."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """On TERM and INT."""
        self.config.app.state.gateway.leaving.set()  # type: ignore[union-attr]
        super().handle_exit(sig, frame)


def server(settings: Settings, client: Client) -> uvicorn.Server:
    """It ends itself on TERM or INT: what runs may finish within `drain_seconds`."""
    return Server(
        uvicorn.Config(
            make_app(settings, client),
            host=settings.host,
            port=settings.port,
            loop="uvloop",
            http="httptools",
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=settings.drain_seconds,
            ssl_certfile=settings.tls_cert_file,
            ssl_keyfile=settings.tls_key_file,
        )
    )


if __name__ == "__main__":
    main()
