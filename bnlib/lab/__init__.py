"""The book's laboratory: what the chapters share, and the core never imports.

`data` gives data sets as NumPy arrays (`render` draws them, `idx` reads MNIST's files),
`training` runs a network over them, `plots` holds the figure style, and `diagrams` draws
axes and graphs. Import what you use: ``from bnlib.lab import data, plots``.
"""
