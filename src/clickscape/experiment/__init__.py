"""Experiments on real traffic: plan, assign, read, evaluate off-policy, choose by a bandit, forecast fatigue.

Tables and counts in, frozen records out: nothing here reads a workspace, draws a picture or imports a model, so that a
service can answer with it.
"""
