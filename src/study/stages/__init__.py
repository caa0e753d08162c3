"""The stages of dvc.yaml, one module each: read params, call the rooms below, write.

`record` is no stage: it packs what they made.

May import: variance_dynamics, base, data, mlp, gpt2, analysis, plotting.
"""
