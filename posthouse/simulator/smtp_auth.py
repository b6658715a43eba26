"""AUTH PLAIN and AUTH LOGIN, from the server's side (RFC 4954, RFC 4616)."""

from base64 import b64decode
from binascii import Error as Base64Error
from enum import Enum, auto


class _Step(Enum):
    PLAIN = auto()
    USER = auto()
    PASSWORD = auto()
    OVER = auto()


class AuthDialogue:
    """One exchange. Each call takes what the client said and gives the reply."""

    def __init__(self, user: str, password: str) -> None:
        self.succeeded = False
        self._expected = (user, password)
        self._user = ""
        self._step = _Step.OVER

    @property
    def over(self) -> bool:
        return self._step is _Step.OVER

    def begin(self, argument: bytes) -> str:
        """What follows AUTH: the mechanism, perhaps with its first answer."""
        mechanism, _, initial = argument.partition(b" ")
        match mechanism.upper(), bool(initial):
            case b"PLAIN", False:
                self._step = _Step.PLAIN
                return "334 "
            case b"PLAIN", True:
                self._step = _Step.PLAIN
                return self.answer(initial)
            case b"LOGIN", False:
                self._step = _Step.USER
                return "334 VXNlcm5hbWU6"
            case b"LOGIN", True:
                self._step = _Step.USER
                return self.answer(initial)
            case _:
                return "504 5.5.4 Unrecognized authentication type"

    def answer(self, line: bytes) -> str:
        """A line in base64; anything else, `*` included, ends the exchange."""
        step, self._step = self._step, _Step.OVER
        try:
            text = b64decode(line, validate=True).decode()
        except (Base64Error, UnicodeDecodeError):
            return "501 5.5.2 Authentication cancelled or not base64"
        match step:
            case _Step.USER:
                self._user, self._step = text, _Step.PASSWORD
                return "334 UGFzc3dvcmQ6"
            case _Step.PASSWORD:
                return self._decide(self._user, text)
            case _Step.PLAIN | _Step.OVER:
                _, user, password = [*text.split("\0"), "", ""][:3]
                return self._decide(user, password)

    def _decide(self, user: str, password: str) -> str:
        self.succeeded = (user, password) == self._expected
        if self.succeeded:
            return "235 2.7.0 Authentication successful"
        return "535 5.7.8 Authentication credentials invalid"
