"""The Tracker: statistics of every weight matrix while a model trains, whole or sharded, and where its
table goes.

May import: base, weights, roles.
"""
