"""One file a gRPC service, and the HTTP probes: translate, ask a room above, translate back. No rule of the product is decided here."""
