"""Importing this first makes gRPC use fewer threads for each message: for our own processes, never for a program of somebody else's.

grpcio reads the setting when it is loaded. Its EventEngine hands every message through two more threads, which costs a link about a
quarter of its processor time (grpcio 1.85). Whoever sets GRPC_EXPERIMENTS has the last word.
"""

from __future__ import annotations

import os

VARIABLE = "GRPC_EXPERIMENTS"

os.environ.setdefault(VARIABLE, "-event_engine_client,-event_engine_listener")
