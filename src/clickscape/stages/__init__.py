"""Stages: each reads the workspace, calls one room, writes the workspace, and can be killed and run again.

The rooms hold the arithmetic and know no folders; `cli` and `demo` call the stages and know no arithmetic.
"""
