"""Checks of the exercises of Part 4, limits."""
