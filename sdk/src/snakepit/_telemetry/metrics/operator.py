"""What the operator tells. Pure."""
