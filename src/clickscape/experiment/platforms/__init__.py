"""Advertising platforms that randomize: requests for them, checked against schemas, and their results as counts.

Nothing here opens a network connection: a person, or a client of their own, sends what is written.
"""
