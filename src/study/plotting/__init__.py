"""Every chart is defined once, and becomes a PNG, a figure of the report and a template of `dvc plots`.

No statistics are computed here.

May import: variance_dynamics, base, analysis.params.
"""
