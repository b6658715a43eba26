"""The one writer of outcomes, the event processor and the sweeper."""
