"""What agent, keeper and worker say to each other on one machine: msgspec frames over Unix sockets, no network, no grpcio."""
