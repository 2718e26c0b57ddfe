"""Wrong answers to the book's exercises, by part: label → (answer, a piece of the reply)."""
