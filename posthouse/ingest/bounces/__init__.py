"""Bounces, complaints and automatic replies, read from the mails that report them."""
