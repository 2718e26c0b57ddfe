"""Checks of the exercises of Part 5, insight."""
