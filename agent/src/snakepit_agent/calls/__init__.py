"""Calls on their way through the capsule, and all that belongs to one: its session, its streams, and what its tool asks for."""
