"""Callbacks that are nearly genuine are refused, whatever was changed, and nothing is fetched for any.

`python -m bench forgery` tries 10,000 of each relay.
"""

import pytest

from bench.forgery import forge
from bench.forgery_vendors import VENDORS


@pytest.mark.parametrize("name", VENDORS)
async def test_no_changed_callback_is_taken(name: str) -> None:
    result = await forge(VENDORS[name](), 300, seed=2)
    assert result.taken == []
    assert sum(result.refused.values()) == 300
    assert result.network == 0
