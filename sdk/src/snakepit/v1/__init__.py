"""Generated from proto/snakepit/v1 by `make protos`; don't edit."""
