"""E1 (`mlp_sweep`) and E2 (`init_comparison`): grids of ReLU MLPs, many of which train as one tensor program.

May import: variance_dynamics, base.
"""
