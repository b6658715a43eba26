"""Choosing a relay and handing over; every end of a hand-over is a value."""
