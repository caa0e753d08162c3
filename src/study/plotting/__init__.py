"""Charts, each defined once, as a PNG, in the report and for dvc plots. Computes no statistics.

May import: variance_dynamics, base, analysis.params.
"""
