"""One file a service: translate, call a room above, translate back."""
