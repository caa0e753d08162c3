"""What the stages share: params.yaml, checkpoints of long runs, and the labelled data as arrays.

May import: variance_dynamics.
"""
