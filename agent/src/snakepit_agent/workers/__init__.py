"""The worker processes: the keeper that makes them, their channels, and whoever looks after them."""
