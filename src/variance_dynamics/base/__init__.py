"""What every other room builds on: errors as one line, named random streams, tables, progress, the machine,
and functions of the step. No model and no science.

May import: nothing else of this package.
"""
