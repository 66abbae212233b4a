"""The capsule's sidecar: holds the links, the heartbeat, and every decision about the workers beside it."""
