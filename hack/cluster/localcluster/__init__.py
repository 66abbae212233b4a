"""A real Kubernetes on one Linux machine, built from source packages, for this repository's own tests."""
