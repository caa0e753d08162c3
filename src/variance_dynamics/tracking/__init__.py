"""The Tracker: statistics of every weight matrix while a model trains, whole or sharded, and how its table is
written.

May import: base, weights, roles.
"""
