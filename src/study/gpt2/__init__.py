"""E3: a GPT-2 from scratch, in one process or in several, with every weight matrix tracked.

May import: variance_dynamics, base.
"""
