"""The tables [relays.NAME]: one account at one relay, by its kind."""

from typing import Literal

import msgspec

from posthouse.config.table import Port, Positive, Table


class SmtpAccountSettings(Table, frozen=True, kw_only=True, tag="smtp", tag_field="kind"):
    """[relays.NAME] with kind = "smtp": any SMTP submission server."""

    #: The server's name or address.
    host: str
    #: 587 is submission with STARTTLS; with tls = "implicit" usually 465 (RFC 8314).
    port: Port = 587
    #: STARTTLS is required once chosen: there is no silent fall-back to clear text.
    tls: Literal["none", "starttls", "implicit"] = "starttls"
    #: For AUTH; empty: no signing in.
    user: str = ""
    #: Name of the environment variable that holds the password.
    password_env: str = ""
    #: File that holds the password.
    password_file: str = ""
    #: Connections of one worker.
    max_connections: Positive = 8
    #: The server is ours: it may be mailed at reserved domains and signed in to in clear text.
    simulator: bool = False


class SendGridAccountSettings(Table, frozen=True, kw_only=True, tag="sendgrid", tag_field="kind"):
    """[relays.NAME] with kind = "sendgrid": SendGrid v3, or what speaks its protocol."""

    #: Name of the environment variable that holds the API key.
    api_key_env: str = ""
    #: File that holds the API key.
    api_key_file: str = ""
    #: https://api.eu.sendgrid.com for an account in the EU region.
    base_url: str = "https://api.sendgrid.com"
    #: The Event Webhook's verification key, base64 DER as SendGrid shows it, or PEM. It is public.
    webhook_key: str = ""
    #: File that holds the verification key. One of the two is needed: unsigned webhooks are not taken.
    webhook_key_file: str = ""
    #: Requests of one worker under way at a time.
    max_concurrency: Positive = 64
    #: The server is ours: it may be at a private address and be mailed at reserved domains.
    simulator: bool = False


class MailgunAccountSettings(Table, frozen=True, kw_only=True, tag="mailgun", tag_field="kind"):
    """[relays.NAME] with kind = "mailgun": one sending domain of a Mailgun account, in the US or the EU."""

    #: The sending domain, as Mailgun lists it.
    domain: str
    #: Name of the environment variable that holds the API key.
    api_key_env: str = ""
    #: File that holds the API key. A domain's sending key sends, and cannot ask about mail in doubt.
    api_key_file: str = ""
    #: https://api.eu.mailgun.net for a domain in the EU region.
    base_url: str = "https://api.mailgun.net"
    #: Name of the environment variable that holds the HTTP webhook signing key.
    webhook_signing_key_env: str = ""
    #: File that holds the signing key. One of the two is needed: unsigned webhooks are not taken.
    webhook_signing_key_file: str = ""
    #: The domain's webhook for accepted messages is set up too. Then silence means that a mail was not taken.
    accepted_webhook: bool = False
    #: Requests of one worker under way at a time.
    max_concurrency: Positive = 64
    #: The server is ours: it may be at a private address and be mailed at reserved domains.
    simulator: bool = False


class PostmarkAccountSettings(Table, frozen=True, kw_only=True, tag="postmark", tag_field="kind"):
    """[relays.NAME] with kind = "postmark": one message stream of a Postmark server."""

    #: Name of the environment variable that holds the server token.
    server_token_env: str = ""
    #: File that holds the server token.
    server_token_file: str = ""
    #: Its ID. Marketing mail goes by a stream of type Broadcasts.
    message_stream: str = "outbound"
    #: Where Postmark's API is.
    base_url: str = "https://api.postmarkapp.com"
    #: The user in the webhook's Basic auth. Postmark signs nothing: a password or a secret header is needed.
    webhook_user: str = ""
    #: Name of the environment variable that holds that user's password.
    webhook_password_env: str = ""
    #: File that holds that user's password.
    webhook_password_file: str = ""
    #: Name of a header that the webhook was given, as X-Posthouse-Hook.
    webhook_header: str = ""
    #: Name of the environment variable that holds the header's secret value.
    webhook_secret_env: str = ""
    #: File that holds the header's secret value.
    webhook_secret_file: str = ""
    #: Marketing mails in one request, at most 500. If its answer does not come, all of them are in doubt.
    max_batch: Positive = 500
    #: Requests of one worker under way at a time.
    max_concurrency: Positive = 64
    #: The server is ours: it may be at a private address and be mailed at reserved domains.
    simulator: bool = False


class SesAccountSettings(Table, frozen=True, kw_only=True, tag="ses", tag_field="kind"):
    """[relays.NAME] with kind = "ses": Amazon SES in one region, or what speaks its protocol."""

    #: As "eu-west-1": where the identities are verified, and the quota counts.
    region: str
    #: The configuration set that mail is sent with: its event destinations are how SES reports.
    configuration_set: str = ""
    #: The access key's ID. It is no secret.
    access_key_id: str = ""
    #: Name of the environment variable that holds the access key's ID.
    access_key_id_env: str = ""
    #: File that holds the access key's ID.
    access_key_id_file: str = ""
    #: Name of the environment variable that holds the secret access key.
    secret_access_key_env: str = ""
    #: File that holds the secret access key. Files are read again while the house runs.
    secret_access_key_file: str = ""
    #: Name of the environment variable that holds the session token, where a role lends the key.
    session_token_env: str = ""
    #: File that holds the session token.
    session_token_file: str = ""
    #: Topics of SNS that may post to /hooks/ses/NAME, as "arn:aws:sns:eu-west-1:123456789012:events".
    topic_arns: list[str] = msgspec.field(default_factory=list)
    #: A queue of SQS, subscribed to the topic, to pull events from instead of having them posted.
    queue_url: str = ""
    #: Another address of SES, as a VPC endpoint's; empty: https://email.REGION.amazonaws.com.
    base_url: str = ""
    #: Requests of one worker under way at a time. The account's rate is asked for and kept beside it.
    max_concurrency: Positive = 64
    #: The server is ours, with SNS and SQS at its address: it may be private, and mailed at reserved domains.
    simulator: bool = False


RelaySettings = (
    SmtpAccountSettings
    | SendGridAccountSettings
    | MailgunAccountSettings
    | PostmarkAccountSettings
    | SesAccountSettings
)
