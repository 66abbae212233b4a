"""Handwritten digits: the example's tools."""
