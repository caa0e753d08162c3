"""From the tables of the experiments to statistics over seeds, effects and verdicts.

May import: variance_dynamics, base.
"""
