"""The stages of dvc.yaml, one module each: read params, call the rooms below, write.

May import: variance_dynamics, base, data, mlp, gpt2, analysis, plotting.
"""
