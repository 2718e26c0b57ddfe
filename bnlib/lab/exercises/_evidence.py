"""Checks of the exercises of Part 3, evidence."""
