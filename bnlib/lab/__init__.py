"""The book's laboratory: what the chapters share, and the core never imports.

`data` gives data sets as NumPy arrays (`render` draws them, `idx` reads MNIST's files), `training`
runs a network over them, `sweep` many networks at once (`lanes` puts them side by side), `probes`
looks inside, and `claims` holds what is measured to what is said. `exercises` checks answers, and
`explorers` are things to move. `plots` holds the figure style, `charts` and `diagrams` draw,
`animation` plays. Import what you use: ``from bnlib.lab import data, plots``.
"""
