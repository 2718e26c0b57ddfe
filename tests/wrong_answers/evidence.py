"""Wrong answers to the exercises of the part "evidence"."""

WRONG = {}
