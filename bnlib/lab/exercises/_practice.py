"""Checks of the exercises of Part 6, practice."""
