"""Migrations of the store: each takes the tables of the release before to those of the next, and loses nothing."""
