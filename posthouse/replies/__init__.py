"""What a mail server's reply means: rules as data."""
