"""Importing this first gives gRPC fewer threads for each message, and nothing to print: in our own processes, never in somebody else's.

grpcio reads the setting when it is loaded. Its EventEngine hands every message through two more threads, which costs a link about a
quarter of its processor time (grpcio 1.85). It prints a line for each TLS handshake that fails, so strangers could fill a log; what we
have to say of one is in our own words. Whoever sets GRPC_EXPERIMENTS or GRPC_VERBOSITY has the last word.
"""

from __future__ import annotations

import os

VARIABLE = "GRPC_EXPERIMENTS"
FEWER = "-event_engine_client,-event_engine_listener"

os.environ.setdefault(VARIABLE, FEWER)
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
