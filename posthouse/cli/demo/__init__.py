"""`posthouse demo`: ten thousand mails through the whole house, and the books that prove it."""
