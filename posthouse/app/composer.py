"""The composer of a house, made of its settings and keys."""

from posthouse.clock import Clock
from posthouse.compose.headers import HeaderSettings
from posthouse.compose.pipeline import Composer, ComposeSettings
from posthouse.compose.pipeline import StreamSettings as ComposeStream
from posthouse.compose.unsubscribe import UnsubscribeTokens
from posthouse.config import Settings, StreamSettings
from posthouse.keyring import Keyring


def build_composer(settings: Settings, keyring: Keyring, clock: Clock) -> Composer:
    return Composer(
        ComposeSettings(
            streams={name: _stream(stream) for name, stream in settings.streams.items()},
            link_key=keyring.links,
            return_path_key=keyring.return_paths,
            unsubscribe=UnsubscribeTokens(keyring.unsubscribe),
        ),
        clock,
    )


def _stream(stream: StreamSettings) -> ComposeStream:
    domain = message_id_domain(stream)
    return ComposeStream(
        tracking_url=stream.tracking_url.rstrip("/"),
        bounce_domain=stream.bounce_domain,
        headers=HeaderSettings(
            message_id_domain=domain,
            list_id_domain=stream.list_id or domain,
            feedback_sender=_feedback_sender(domain),
            unsubscribe_mailbox=stream.unsubscribe_mailto or None,
        ),
    )


def message_id_domain(stream: StreamSettings) -> str:
    """A relay is asked about a mail by its Message-ID: what is in doubt must be found by the same domain."""
    return stream.from_domains[0]


def _feedback_sender(domain: str) -> str:
    """5 to 15 characters, the same over the whole stream (Gmail's Feedback-ID)."""
    letters = "".join(c for c in domain.lower() if c.isalnum())
    return letters[:15].ljust(5, "x")
