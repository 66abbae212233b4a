"""What there is: calls, pools, capsules and workers, queues, sessions, and what clients offer. Pure; imports nothing above it."""
