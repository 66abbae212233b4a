"""What the agent decides by: its calls, slots, sessions and workers as values and pure rules. No clock, no loop, no I/O."""
