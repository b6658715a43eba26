"""The garbage collector of a process that serves requests."""

import gc
from typing import Final

#: Objects between two looks at the youngest. At the default of 700 the requests of one group commit live
#: through several, and the looks at the old that these lead to read the whole program: 10 % of a mail.
_YOUNG: Final = 20_000


def calm_collector() -> None:
    """Once the process has loaded what it keeps: that is not looked at again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, 20, 20)
