"""What every stage shares: params.yaml, checkpoints of long runs, the labelled data, where results came from.

May import: variance_dynamics.
"""
