"""Settings: `posthouse.toml` and the environment, frozen, typed, with units; an unknown key is an error.

Durations are text with a unit ("250ms", "10s", "5m", "24h", "45d"), or lists of them; rates are text too
("100/s", "1000/m", "5000/h"). Secrets are not in the file: `*_env` names the environment variable that holds
one, `*_file` a file.
"""

from posthouse.config.kafka import KafkaSettings
from posthouse.config.load import (
    DEVELOPMENT,
    file_of,
    load,
    secret,
    settings_from,
)
from posthouse.config.relays import (
    MailgunAccountSettings,
    PostmarkAccountSettings,
    RelaySettings,
    SendGridAccountSettings,
    SesAccountSettings,
    SmtpAccountSettings,
)
from posthouse.config.settings import (
    ApiSettings,
    DatabaseSettings,
    HouseSettings,
    InboundSettings,
    LeaseSettings,
    RetentionSettings,
    RetrySettings,
    Settings,
    SimulationSettings,
    StreamSettings,
)

#: Names the read end of a pipe that `posthouse up` holds open: its end means that the parent is gone.
PARENT_PIPE = "POSTHOUSE_PARENT_PIPE"

__all__ = [
    "DEVELOPMENT",
    "PARENT_PIPE",
    "ApiSettings",
    "DatabaseSettings",
    "HouseSettings",
    "InboundSettings",
    "KafkaSettings",
    "LeaseSettings",
    "MailgunAccountSettings",
    "PostmarkAccountSettings",
    "RelaySettings",
    "RetentionSettings",
    "RetrySettings",
    "SendGridAccountSettings",
    "SesAccountSettings",
    "Settings",
    "SimulationSettings",
    "SmtpAccountSettings",
    "StreamSettings",
    "file_of",
    "load",
    "secret",
    "settings_from",
]
