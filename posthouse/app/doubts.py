"""How each stream's mail in doubt is settled: whom to ask, and what silence means."""

from collections.abc import Mapping

from posthouse.app.adapters import capabilities
from posthouse.app.composer import message_id_domain
from posthouse.compose.headers import message_id
from posthouse.config import Settings
from posthouse.domain.ids import RelayAccount
from posthouse.domain.stream import Stream
from posthouse.relays.base import Answer, Inquirer
from posthouse.status.asking import Asking
from posthouse.status.doubts import DoubtRule
from posthouse.telemetry import Metrics


def asking(settings: Settings, inquirers: Mapping[RelayAccount, Inquirer], metrics: Metrics) -> Asking:
    """Whose doubts are asked about: those of streams with a relay that can be asked."""

    def heard(account: RelayAccount, answer: Answer) -> None:
        metrics.inquiries.labels(account, type(answer).__name__).inc()

    relays = {
        name: tuple(stream.relays)
        for name, stream in settings.streams.items()
        if any(account in inquirers for account in stream.relays)
    }
    domains = {name: message_id_domain(stream) for name, stream in settings.streams.items()}
    return Asking(inquirers, relays, lambda job_id, stream: message_id(job_id, domains[stream]), heard)


def doubt_rules(settings: Settings) -> Mapping[Stream, DoubtRule]:
    """What a stream's silence means: "not taken" only if each of its relays reports what it takes."""
    can = capabilities(settings)
    return {
        name: DoubtRule(
            silence_means_not_taken=all(can[account].reports_acceptance for account in stream.relays),
            repeat=stream.repeat_unknown,
        )
        for name, stream in settings.streams.items()
    }
