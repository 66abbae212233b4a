"""Texts as vectors, by a model that all workers of a capsule share."""
