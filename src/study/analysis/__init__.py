"""From the tables of the experiments to statistics over seeds, effects and verdicts.

Each experiment has its module (e1, e2, e3), with helpers of the same prefix; mlp holds what E1 and E2 share.
source analyzes a whole run, statistics knows nothing of what was measured, verdicts and claims judge.

May import: variance_dynamics, base.
"""
