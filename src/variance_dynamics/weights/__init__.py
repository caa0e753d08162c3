"""A weight matrix: its role and place, the piece of a tensor that it is, the std that a scheme gives it,
and the statistics that are measured of it.

May import: base.
"""
