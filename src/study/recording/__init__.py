"""Packs what the stages made.

May import: variance_dynamics, base, data, mlp, gpt2, analysis, stages.
"""
