"""No SDK of ours but the generated stubs: `plain_client.py HOST:PORT`. Token and CA are where docs/security.md's snippet puts them."""

import os
import sys
from pathlib import Path

import grpc

from snakepit.v1 import router_pb2, router_pb2_grpc

FOLDER = "/var/run/secrets/snakepit"
token = Path(os.environ.get("SNAKEPIT_TOKEN_FILE", f"{FOLDER}/token"))
ca = Path(os.environ.get("SNAKEPIT_CA_FILE", f"{FOLDER}/ca.crt"))
metadata = [("authorization", f"Bearer {token.read_text().strip()}")] if token.is_file() else []
tls = grpc.ssl_channel_credentials(ca.read_bytes()) if ca.is_file() else None

with grpc.secure_channel(sys.argv[1], tls) if tls else grpc.insecure_channel(sys.argv[1]) as channel:
    request = router_pb2.ExecuteRequest(pool="default/digits", tool="classify")
    request.json.update({"image": [0.0] * 32 + [16.0] * 32})
    # A pod that has just begun may be unknown to NetworkPolicies for a second, and is refused meanwhile.
    reply = router_pb2_grpc.RouterServiceStub(channel).Execute(request, timeout=10, metadata=metadata, wait_for_ready=True)
    print("digit", int(reply.json.number_value), "said", reply.worker)
