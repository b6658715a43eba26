"""Documentation that is made from the code it describes. `python -m posthouse.cli.docs` writes it anew."""
