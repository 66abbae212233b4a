"""The program `snakepit-gateway`: settings, logs, one HTTP server, and a clean end on TERM or INT."""

from __future__ import annotations

import snakepit._grpc_threads  # noqa: F401  # before gRPC is loaded

# isort: split
import os
import socket

from snakepit import Client
from snakepit._interpreter import have_all_descriptors, leave_out_of_collections, let_the_loop_go_first
from snakepit._telemetry import tracing
from snakepit._telemetry.logs import configure_logging, fail
from snakepit_gateway.app import make_app
from snakepit_gateway.server import Server
from snakepit_gateway.settings import Settings, from_environment


def main() -> None:
    """Exit 0 after TERM, 1 with one sentence when it can't start."""
    try:
        program, inherited = _prepared()
        let_the_loop_go_first()
        have_all_descriptors()
        leave_out_of_collections()
        program.run(inherited or None)
    finally:
        tracing.shutdown()


def _prepared() -> tuple[Server, list[socket.socket]]:
    try:
        configure_logging("gateway")
        settings = from_environment(os.environ)
        inherited = [] if settings.file_descriptor is None else [socket.socket(fileno=settings.file_descriptor)]
        tracing.configure("snakepit-gateway")
        return server(settings, Client()), inherited
    except (ValueError, OSError) as error:  # of settings, of a certificate, or of the port for metrics
        fail(str(error))


def server(settings: Settings, client: Client) -> Server:
    """It ends itself on TERM or INT. Raises ValueError with a sentence where its certificate can't be used, and OSError for metrics."""
    app = make_app(settings, client)
    made = Server(app, settings, app.state.gateway.leaving, client.close)
    if settings.metrics is not None:
        app.state.metrics.listen(settings.metrics, "SNAKEPIT_GATEWAY_METRICS_LISTEN")
    return made


if __name__ == "__main__":
    main()
