"""Wrong answers to the exercises of the part "practice"."""

WRONG = {}
