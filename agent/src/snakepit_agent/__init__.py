"""The capsule's sidecar: links, heartbeat, and every decision about the capsule's workers."""
