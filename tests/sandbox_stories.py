"""What docs/sandbox.md promises of each address."""

#: By local part: the end, and the events beside `accepted` in the order of the timeline.
STORIES = {
    "delivered": ("delivered", ["sent", "delivered"]),
    "whoever": ("delivered", ["sent", "delivered"]),
    "bounced": ("bounced", ["sent", "bounced"]),
    "soft-bounced": ("bounced", ["sent", "bounced"] * 4),
    "deferred": ("delivered", ["sent", "deferred", "delivered"]),
    "complained": ("delivered", ["sent", "delivered", "complained"]),
    "opened": ("delivered", ["sent", "delivered", "opened"]),
    "clicked": ("delivered", ["sent", "delivered", "opened", "clicked"]),
    "rejected": ("failed", ["rejected"]),
    "suppressed": ("suppressed", ["suppressed"]),
}
