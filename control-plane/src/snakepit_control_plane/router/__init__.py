"""Which worker gets which call, and when. Decisions are pure; `router.pools` has the timers and sends the frames."""
