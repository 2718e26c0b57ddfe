"""Batch normalization as functions, and the door to all other functions of bnlib.

``*_forward`` returns the output and a cache; ``*_backward`` turns the gradient of the output and
that cache into gradients of the inputs. `batch_norm` has PyTorch's signature. The channel axis is
axis 1. The arithmetic of batch normalization is in `bnlib.textbook` and `bnlib.kernels`, layer and
group normalization in `bnlib.sample_norm`, convolution and pooling in `bnlib.convolution`,
everything else in `bnlib.ops`; all of them are found here too.
"""

from bnlib import convolution, kernels, ops, sample_norm, textbook
from bnlib._checks import check_batch_norm, check_gradient, check_memory
from bnlib.convolution import *  # noqa: F403
from bnlib.ops import *  # noqa: F403
from bnlib.sample_norm import *  # noqa: F403

__all__ = ["batch_norm", "batch_norm_backward", "batch_norm_forward"]
__all__ += sample_norm.__all__ + convolution.__all__ + ops.__all__


def batch_norm_forward(
    x,
    running_mean,
    running_var,
    weight=None,
    bias=None,
    training=False,
    momentum=0.1,
    eps=1e-5,
    *,
    out=None,
    threads=None,
):
    """Normalize each channel of a mini-batch, then scale and shift; keep what the backward needs.

    Parameters and errors are those of `batch_norm`.

    Returns
    -------
    y : ndarray of shape (N, C, ...)
        Output, in the dtype of `x`; `out`, if that is given.
    cache : tuple
        For `batch_norm_backward`. It may hold `x` itself: leave that as it is until then.

    Notes
    -----
    `bnlib.kernels` does the work where it can, `bnlib.textbook` everywhere else.
    """
    args = x, running_mean, running_var, weight, bias, training, momentum, eps
    check_batch_norm("batch_norm", *args)
    check_memory("batch_norm", out, threads, x.dtype, x)
    if kernels.suits(x, eps):
        done = kernels.batch_norm_forward(*args, out, threads)
        if done is not None:
            return done
    y, cache = textbook.batch_norm_forward(*args)
    return _into(out, y), cache


def batch_norm_backward(dy, cache, *, out=None, threads=None):
    """Gradients of a batch normalization, in training and in evaluation.

    Parameters
    ----------
    dy : ndarray of shape (N, C, ...)
        Gradient of the loss with respect to the output, in its dtype.
    cache : tuple
        From `batch_norm_forward`.
    out : ndarray of shape (N, C, ...) or None
        Memory for `dx`, apart from that of `dy` and `x`.
    threads : int or None
        As in `batch_norm`.

    Returns
    -------
    dx : ndarray of shape (N, C, ...)
        Gradient with respect to `x`, in its dtype; `out`, if that is given.
    dweight, dbias : ndarray of shape (C,)
        Gradients with respect to `weight` and `bias`; where there is none, with respect to the 1
        or 0 that stands in for it.

    Raises
    ------
    TypeError, ValueError
        If `dy` or `out` has not the dtype and shape of the output, or `out` is no memory to write
        into.

    Notes
    -----
    In training ``dx = weight · invstd · (dy − mean(dy) − x_hat · mean(dy · x_hat))``: Ioffe &
    Szegedy (2015), section 3, in closed form. Derived in the chapter "Backward".
    """
    x = cache[0]  # or x_hat
    dtype = x.dtype if isinstance(cache, kernels.Saved) else cache[-1]
    check_gradient("batch_norm_backward", dy, x.shape, dtype)
    check_memory("batch_norm_backward", out, threads, dtype, dy, x)
    if isinstance(cache, kernels.Saved):
        return kernels.batch_norm_backward(dy, cache, out, threads)
    dx, dweight, dbias = textbook.batch_norm_backward(dy, cache)
    return _into(out, dx), dweight, dbias


def _into(out, a):
    """Return `a`, in the memory of `out` if there is such."""
    if out is None:
        return a
    out[...] = a
    return out


def batch_norm(
    x,
    running_mean,
    running_var,
    weight=None,
    bias=None,
    training=False,
    momentum=0.1,
    eps=1e-5,
    *,
    out=None,
    threads=None,
):
    """Batch normalization over all axes but axis 1.

    Parameters
    ----------
    x : ndarray of shape (N, C) or (N, C, ...), float16, float32 or float64
        Input. It is not changed.
    running_mean, running_var : ndarray of shape (C,) or None
        Running statistics, float32 (float64 for a float64 input). In training they are updated in
        place, `running_var` with the unbiased variance of the batch; in evaluation they normalize.
    weight, bias : ndarray of shape (C,) or None
        Scale γ and shift β, dtype as the running statistics.
    training : bool
        Whether to normalize with the statistics of this batch.
    momentum : float
        Weight of the new batch in the running statistics, from 0 to 1.
    eps : float
        Added to the variance, greater than 0.
    out : ndarray of shape (N, C, ...) or None
        Memory for the output, in C order, of the dtype of `x` and apart from it.
    threads : int or None
        How many threads may work on a large array; None for what the environment variable
        ``BNLIB_NUM_THREADS`` says, or else all CPUs of the process. Any number gives the same bits.

    Returns
    -------
    ndarray of shape (N, C, ...)
        Output, in the dtype of `x`; `out`, if that is given. An empty batch gives an empty output,
        and leaves the running statistics alone.

    Raises
    ------
    TypeError
        If an array has not the dtype above.
    ValueError
        If a shape does not fit; if there is only one value per channel in training; if running
        statistics are missing in evaluation; if `eps`, `momentum` or `threads` is out of range;
        if `out` cannot be written, or shares memory with `x`.

    Notes
    -----
    Ioffe & Szegedy (2015), Algorithms 1 and 2. Chapters "Forward" and "Running statistics".

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[1.0, 10.0], [3.0, 30.0]])
    >>> batch_norm(x, None, None, training=True).round(4)
    array([[-1., -1.],
           [ 1.,  1.]])
    """
    y, _ = batch_norm_forward(
        x,
        running_mean,
        running_var,
        weight,
        bias,
        training,
        momentum,
        eps,
        out=out,
        threads=threads,
    )
    return y
