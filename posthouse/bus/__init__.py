"""How work reaches the processes that do it: jobs to workers, relay callbacks to the processor."""
