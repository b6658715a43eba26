"""From a job and a template version to a Rendered mail, and from that to bytes; each step a pure function."""
