"""Chance that repeats: every draw is a hash of the seed and of what it is drawn for."""

from collections.abc import Mapping
from hashlib import blake2b
from typing import TypeVar

Choice = TypeVar("Choice")

_STEPS = 2.0**53


def draw(seed: int, *what: str) -> float:
    """A number in [0, 1) that depends on nothing but the arguments."""
    text = "\x1f".join((str(seed), *what))
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / _STEPS


def between(bounds: tuple[float, float], at: float) -> float:
    """The point of an interval that a draw falls on."""
    low, high = bounds
    return low + (high - low) * at


def pick(shares: Mapping[Choice, float], at: float) -> Choice | None:
    """The choice whose share of [0, 1) a draw falls into; None where the shares leave a rest."""
    edge = 0.0
    for choice, share in shares.items():
        edge += share
        if at < edge:
            return choice
    return None
