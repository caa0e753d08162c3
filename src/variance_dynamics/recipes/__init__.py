"""Recipes: what each parameter of a network is drawn from, as data to draw by and to judge by.

May import: base, weights, roles.
"""
