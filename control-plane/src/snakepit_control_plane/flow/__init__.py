"""A call's way down, from its arrival to an agent, and back up. Timers, frames and the store are here; decisions are in `policy`."""
