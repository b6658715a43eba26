"""What the house asks of each kind of relay account: one module for each vendor, one match over them."""
