"""What one mail may cost. A body past its limit is refused with a reason, never cut."""

from dataclasses import dataclass

MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes are bytes of UTF-8, times are seconds."""

    html_bytes: int = MEBIBYTE  # what the CSS inliner and the HTML parser are given
    output_bytes: int = 5 * MEBIBYTE  # what one template part may render to
    render_memory_bytes: int = 512 * MEBIBYTE  # address space of the sandbox process
    render_seconds: float = 1.0
    sandbox_start_seconds: float = 15.0
