"""Checks of the exercises of Part 1, why."""
