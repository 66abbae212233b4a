"""A warehouse that an agent works in."""
