"""The explorers' random numbers, as ``explore.normals`` in ``kit.js`` makes them."""

import math
from itertools import islice

import numpy as np

MASK = 0xFFFFFFFF


def normals(seed):
    """Yield normal numbers: mulberry32, in pairs by Box and Muller."""
    a = seed & MASK

    def uniform():
        nonlocal a
        a = (a + 0x6D2B79F5) & MASK
        t = (a ^ (a >> 15)) * (a | 1) & MASK
        t ^= (t + ((t ^ (t >> 7)) * (t | 61) & MASK)) & MASK
        return ((t ^ (t >> 14)) + 0.5) / 2**32

    while True:
        r, angle = math.sqrt(-2 * math.log(uniform())), 2 * math.pi * uniform()
        yield r * math.cos(angle)
        yield r * math.sin(angle)


def normal_array(seed, *shape):
    """Return the first normal numbers of a seed in an array."""
    numbers = islice(normals(seed), math.prod(shape))
    return np.array(list(numbers)).reshape(shape)
