"""Sparse networks: layers in which few units win, weights most of which are zero, and statistics.

The layers hold what is neither parameter nor gradient; main nets hold the layers.
"""
