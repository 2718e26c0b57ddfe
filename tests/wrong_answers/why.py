"""Wrong answers to the exercises of the part "why"."""

WRONG = {}
