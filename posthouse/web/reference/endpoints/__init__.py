"""Every endpoint under /v1, in the order of the reference."""

from typing import Final

from posthouse.web.reference.endpoint import Endpoint
from posthouse.web.reference.endpoints import email_list, emails, keys, suppressions, templates, webhooks

ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    *emails.ENDPOINTS,
    *email_list.ENDPOINTS,
    *templates.ENDPOINTS,
    *suppressions.ENDPOINTS,
    *keys.ENDPOINTS,
    *webhooks.ENDPOINTS,
)
