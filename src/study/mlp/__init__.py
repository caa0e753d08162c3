"""E1 and E2: grids of ReLU MLPs that train side by side as tensor programs.

May import: variance_dynamics, base.
"""
