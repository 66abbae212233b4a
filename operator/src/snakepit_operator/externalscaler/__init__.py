"""Generated from proto/keda by `make protos`; don't edit."""
