"""Routes calls, watches heartbeats, keeps sessions."""
