"""The null law over a schedule, alone or beside the table of a recorded run.

May import: base, weights, theory.
"""
