"""`posthouse doctor`: what is wrong with the house, in words, and what to do about it."""
