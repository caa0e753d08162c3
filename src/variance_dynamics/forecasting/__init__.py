"""What AdamW will do to the std of a weight matrix, by the null law over a training run's schedule.

The forecast stands alone, or beside the table of a recorded run.

May import: base, weights, theory.
"""
