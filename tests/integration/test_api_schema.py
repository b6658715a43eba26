"""The API answers what its own document says, whatever is asked: a bounded run of schemathesis.

`python -m bench fuzz` makes the long one.
"""

import pytest
from api_house import running_api

from bench.fuzz import fuzz
from posthouse.storage.db import Database


@pytest.mark.parametrize("seed", [1])
async def test_nothing_that_can_be_asked_is_answered_otherwise_than_described(
    database: Database, seed: int
) -> None:
    async with running_api(database) as api:
        code, output = await fuzz(api.base, api.secret, 15, seed=seed)
    assert code == 0, output
    assert "generated" in output
