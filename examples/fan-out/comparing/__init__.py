"""Asks many sellers at once, in another pool, and answers in time with what has come."""
