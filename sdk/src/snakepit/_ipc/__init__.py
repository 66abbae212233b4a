"""How agent, keeper and worker of one capsule talk on one machine: sockets, frames, and memory that is handed over. Private."""
