"""Wrong answers to the exercises of the part "limits"."""

WRONG = {}
