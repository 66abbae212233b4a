"""What a caller may do, in Kubernetes' words: asked of the API server, remembered for a while, and written down."""

from __future__ import annotations

from snakepit_control_plane.authentication import Authentication, LocalTokens
from snakepit_control_plane.authorization.access import Access

__all__ = ["Access", "make_access"]


def make_access(wanted: Authentication | LocalTokens | None) -> Access:
    """None, or no API server to ask: everybody may do everything."""
    if not isinstance(wanted, Authentication) or not wanted.api_server:
        return Access()
    from snakepit_control_plane.authorization.audit import Audit
    from snakepit_control_plane.authorization.reviews import Reviews
    from snakepit_control_plane.authorization.rights import Rights

    reviews = Reviews(wanted.api_server, wanted.token_file, wanted.ca_file)
    return Rights(reviews.ask, Audit(wanted.audit), close=reviews.close)
