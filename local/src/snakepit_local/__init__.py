"""Snakepit on one machine: composition only."""
