"""Wrong answers to the exercises of the part "insight"."""

WRONG = {}
