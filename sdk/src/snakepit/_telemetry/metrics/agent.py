"""What the agent tells. Pure."""
