"""A module for each role of the house, with what puts it together and runs it until it is told to stop."""
