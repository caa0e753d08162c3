"""Recipes: what each parameter of a network is drawn from, as data that `initialize` draws and `audit` judges.

May import: base, weights, roles.
"""
