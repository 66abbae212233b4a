"""What the gateway tells. Pure."""
