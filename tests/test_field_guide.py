"""The field guide: its index, its entries, the file that it offers, and the errors that it quotes.

The notebooks themselves are run by nbval. Here the strings of PyTorch and Keras in the index are
provoked, and the functions of ``first_aid.py`` meet networks that the pages do not show.
"""

import ast
import copy
import io
import os
import pickle
import re
import subprocess
import sys
import warnings
from pathlib import Path

os.environ["KERAS_BACKEND"] = "torch"  # before Keras is imported

import keras
import nbformat
import numpy as np
import pytest
import torch
from torch import nn
from torch.ao.quantization import fuse_modules
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils.checkpoint import checkpoint

from bnlib.lab.files import first_aid

PRACTICE = Path(__file__).resolve().parents[1] / "book" / "6-practice"
INDEX = PRACTICE / "field-guide.ipynb"
PAGES = [
    PRACTICE / f"field-guide-{name}.ipynb" for name in ("modes", "buffers", "code")
]


def markdown(path):
    """Return the text of a notebook, without its code."""
    cells = nbformat.read(path, as_version=4).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def entries(path):
    """Return the entries of a page, text by label."""
    parts = re.split(r"^\((field-[\w-]+)\)=\n", markdown(path), flags=re.MULTILINE)
    return {
        label: re.split(r"^## ", text, flags=re.MULTILINE)[1]
        for label, text in zip(parts[1::2], parts[2::2], strict=True)
    }


ENTRIES = {label: text for page in PAGES for label, text in entries(page).items()}
ROW = re.compile(
    r"^\| (`+) ?(.+?) ?\1 \|(?: (\[.+?\]\(.+?\)) \|)? (.+) \|$", re.MULTILINE
)
ERRORS = [
    (text, source or None, re.findall(r"\{ref\}`([\w-]+)`", links))
    for _, text, source, links in ROW.findall(
        markdown(INDEX).split("(field-errors)=")[1]
    )
]


def test_the_index_is_complete():
    assert len(ENTRIES) == 46
    assert len(ERRORS) >= 40
    assert len({text for text, *_ in ERRORS}) == len(ERRORS)
    for text, source, links in ERRORS:
        assert links, text
        assert set(links) <= set(ENTRIES), text
        assert source is None or "https://github.com/" in source
    by_symptom = markdown(INDEX).split("(field-index)=")[1].split("(field-errors)=")[0]
    assert set(re.findall(r"\{ref\}`([\w-]+)`", by_symptom)) == set(ENTRIES)


@pytest.mark.parametrize("label", ENTRIES)
def test_an_entry_has_its_parts(label):
    text = ENTRIES[label]
    for part in ("**Symptom.**", "**Cause.**", "**Cure.**", "**The test.**"):
        assert text.count(part) == 1, part
    assert "{ref}`Back to the index <field-index>`" in text
    assert "{doc}`" in text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_each_entry_shows_its_test_fail_and_pass(page):
    code = [""]
    for cell in nbformat.read(page, as_version=4).cells:
        if cell.cell_type == "markdown" and re.search(
            r"^\(field-", cell.source, re.MULTILINE
        ):
            code.append("")
        if cell.cell_type == "code":
            code[-1] += cell.source
    assert len(code) == 1 + len(entries(page))
    assert all("tell_apart(" in source for source in code[1:])


def test_the_pages_share_their_network():
    setups = {nbformat.read(page, as_version=4).cells[1].source for page in PAGES}
    assert len(setups) == 1


def test_first_aid_needs_torch_alone():
    tree = ast.parse(Path(first_aid.__file__).read_text(encoding="utf-8"))
    modules = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    modules |= {
        a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names
    }
    outside = {name.partition(".")[0] for name in modules} - sys.stdlib_module_names
    assert outside == {"torch"}


# What users reported, by public thread: the words with which they would search, and the entry.
THREADS = {
    "pytorch/pytorch#4741": ("far worse in evaluation", "field-early"),
    "CuriousAI/mean-teacher#9": ("averaged network is worse", "field-ema"),
    "gpleiss/efficient_densenet_pytorch#73": ("Saving memory", "field-checkpoint"),
    "Xilinx/brevitas#388": ("Folding and 8 bits", "field-quantize"),
    "keras-team/keras#9522": ("Keras and PyTorch", "field-trainable"),
    "pytorch/pytorch#88474": ("NaN in evaluation", "field-amp"),
    "jfzhang95/pytorch-deeplab-xception#41": (
        "ValueError: Expected more than 1 value per channel when training, got input size "
        "[1, 256, 1, 1]",
        "field-pooled",
    ),
    "VisionLearningGroup/DA_Detection#33": (
        'Unexpected key(s) in state_dict: "netD.bn1.num_batches_tracked", '
        '"netD.bn2.num_batches_tracked", "netD.bn3.num_batches_tracked".',
        "field-key",
    ),
    "pytorch/pytorch#175024": (
        "RuntimeError: one of the variables needed for gradient computation has been modified "
        "by an inplace operation: [torch.cuda.FloatTensor [768]] is at version 3",
        "field-broadcast",
    ),
    "google/flax#2279": (
        'ScopeCollectionNotFound: Tried to access "mean" from collection "batch_stats" in '
        '"/BatchNorm_0" but the collection is empty.',
        "field-functional",
    ),
    "microsoft/onnxruntime#16867": (
        "!(is_training_mode_ && opset >= 14) was false. Training mode does not support BN "
        "opset 14 (or higher) yet.",
        "field-onnx",
    ),
    "meta-pytorch/opacus#319": (
        "NotImplementedError('grad sampler is not yet implemented for BatchNorm2d(64, ",
        "field-vmap",
    ),
}


def as_pattern(text):
    """Return a pattern for a string of the index, in which an ellipsis stands for anything."""
    return ".+".join(re.escape(part) for part in text.split("…"))


@pytest.mark.parametrize("thread", THREADS)
def test_a_public_thread_reaches_its_entry(thread):
    words, entry = THREADS[thread]
    rows = [line for line in markdown(INDEX).split("\n") if words in line]
    found = {label for row in rows for label in re.findall(r"\{ref\}`([\w-]+)`", row)}
    for text, _, links in ERRORS:
        if re.search(as_pattern(text), words):
            found |= set(links)
    assert entry in found
    assert len(found) <= 6  # what a reader looks through in a minute


# Reports found by their titles, ten to improve the index with and ten to confirm it: the title, the
# thread, the words of the title that a reader types into the browser's own search, and the entry.
REPORTS = {
    "layumi/Person_reID_baseline_pytorch#218": (
        "Result of inference is better with .eval() turned off",
        ".eval()",
        "field-overfit",
    ),
    "Namkyeong/BGRL_Pytorch#1": (
        "RuntimeError: running_mean should contain 256 elements not 512",
        "running_mean should contain",
        "field-size",
    ),
    "pytorch/pytorch#115500": (
        "Batchnorm NAN in amp autocast mode.",
        "autocast",
        "field-amp",
    ),
    "microsoft/onnxruntime#4589": (
        "ONNXRuntime outputs are different from PyTorch outputs",
        "ONNX",
        "field-onnx",
    ),
    "open-mmlab/mmcv#1869": (
        "GradientCumulativeOptimizerHook may slightly decrease performance if the model has "
        "BatchNorm layers.",
        "slightly decrease performance",
        "field-accumulate",
    ),
    "lightly-ai/lightly#1438": (
        "deactivate_requires_grad does not fix the model!",
        "requires_grad",
        "field-freeze",
    ),
    "discuss.pytorch.org/t/18600": (
        "Batchnorm train with momentum=1 then eval, why are they different?",
        "momentum",
        "field-biased",
    ),
    "michalfaber/tensorflow_Realtime_Multi-Person_Pose_Estimation#13": (
        "Batch normalization moving mean and variance are not being updated",
        "moving mean",
        "field-train",
    ),
    "facebookresearch/SparseConvNet#190": (
        "nan values in batch normalization during testing phase",
        "nan",
        "field-nan",
    ),
    "community.deeplearning.ai/t/87440": (
        "Keras predict giving different results depending on how used",
        "predict",
        "field-eval",
    ),
    # The second ten were chosen, with their words, before the index was improved for the first.
    # Nine of them then reached their entry; "gradient tape" was added afterward.
    "pytorch/pytorch#5406": (
        "BatchNorm behaves different in train() and eval()",
        "eval()",
        "field-early",
    ),
    "pytorch/pytorch#86590": (
        'Easy way to "freeze" BatchNorm running_mean/running_var',
        "freeze",
        "field-freeze",
    ),
    "MCG-NJU/TDN#22": (
        "questions about batchnorm in DistributedDataParallel",
        "DistributedDataParallel",
        "field-workers",
    ),
    "giotto-ai/giotto-deep#75": (
        "Accumulate gradients is not compatible with BatchNorm",
        "accumulate",
        "field-accumulate",
    ),
    "NVIDIA/apex#121": (
        "RuntimeError: expected scalar type Half but found Float",
        "expected scalar type Half",
        "field-dtype",
    ),
    "microsoft/onnxruntime#3873": (
        "the big different of outputs between the .pth model and the according onnx model with "
        "the BatchNorm2d layer",
        "onnx",
        "field-onnx",
    ),
    "discuss.pytorch.org/t/139598": (
        "Here is a question about fuse torch.nn.BatchNorm2d",
        "fuse",
        "field-fold",
    ),
    "ZhengPeng7/BiRefNet#25": (
        "RuntimeError: Error(s) in loading state_dict",
        "loading state_dict",
        "field-key",
    ),
    "tensorflow/tensorflow#32864": (
        "BatchNormalization update ops with gradient tape",
        "gradient tape",
        "field-train",
    ),
    "intellipaat.com/community/11257": (
        "resnet 100 accuracy during training but 33 prediction accuracy with the same data",
        "prediction",
        "field-overfit",
    ),
}


def presses(words, entry):
    """Return how often a search stops on the index's text, up to a row with the entry."""
    text = markdown(INDEX)
    titles = {label: entry.split("\n")[0] for label, entry in ENTRIES.items()}
    count = 0
    for line in text.split("\n"):
        shown = re.sub(
            r"\{ref\}`([\w-]+)`", lambda ref: titles.get(ref[1], ref[1]), line
        )
        shown = re.sub(r"\[(.+?)\]\(.+?\)", r"\1", shown).replace("`", "")
        for _ in re.finditer(re.escape(words), shown, re.IGNORECASE):
            count += 1
            if line.startswith("|") and f"`{entry}`" in line:
                return count
    return None


@pytest.mark.parametrize("thread", REPORTS)
def test_the_browsers_search_reaches_the_entry(thread):
    title, words, entry = REPORTS[thread]
    assert words.lower() in title.lower()
    assert presses(words, entry) in range(1, 8)


# What the pages say of Keras, and of a batch that no check refuses, on networks with skips


class KerasSkip(keras.Model):
    """A small CNN of Keras; ``written`` is what the call of its BN gets in place of the mode."""

    def __init__(self, written=None):
        super().__init__()
        self.conv = keras.layers.Conv2D(2, 3, padding="same")
        self.bn = keras.layers.BatchNormalization()
        self.written = written

    def call(self, x, training=None):
        training = training if self.written is None else self.written
        return x + self.bn(self.conv(x), training=training)


def keras_images():
    keras.utils.set_random_seed(0)
    return np.random.default_rng(0).normal(3, 1, (16, 6, 6, 2)).astype("float32")


def test_in_a_keras_loop_the_call_has_the_mode():
    x, net = keras_images(), KerasSkip()
    for _ in range(5):
        net(x)
    assert not keras.ops.any(net.bn.moving_mean)
    for _ in range(5):
        net(x, training=True)
    assert keras.ops.all(net.bn.moving_mean)


# Keras' predict, not ours.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("written", [True, None])
def test_in_keras_a_mode_that_is_written_in_stays(written):
    x, net = keras_images(), KerasSkip(written)
    part, whole = net.predict(x[:4], verbose=0), net.predict(x, verbose=0)
    assert np.allclose(part, whole[:4], atol=1e-5) == (written is None)


def test_one_value_per_channel_that_no_check_refuses():
    net = trained()
    with torch.no_grad():  # without the check of nn.functional.batch_norm
        bn, y = net[1], net[0](images(1))[..., :1, :1]
        buffers = bn.running_mean, bn.running_var
        torch.batch_norm(y, bn.weight, bn.bias, *buffers, True, 0.1, bn.eps, False)
    assert net.train()(images()).isfinite().all()
    assert first_aid.predict(net, images()).isnan().any()
    first_aid.recompute(net, [images() for _ in range(5)])
    assert first_aid.predict(net, images()).isfinite().all()
    first_aid.assert_finite_state(net)


# The strings of the index


def provoke(function):
    """Return the text of the error, or of the warnings."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            function()
        except Exception as error:
            return str(error)
    return "\n".join(str(warning.message) for warning in said)


def load(net, other, *, plain=False, without=()):
    state = other.state_dict()
    state = {k: v for k, v in state.items() if k not in without} if plain else state
    for key in without:
        state.pop(key, None)
    net.load_state_dict(state)


def stateless_norm(channels):
    return nn.BatchNorm2d(channels, track_running_stats=False)


def in_place():
    bn = nn.BatchNorm1d(3)
    y = bn(torch.randn(4, 3))
    bn.running_mean.copy_(bn.running_mean)
    y.sum().backward()


def in_a_group(function):
    """Run something in a process group of one process."""

    def run(tmp_path):
        if sys.platform == "linux":
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        torch.distributed.init_process_group(
            "gloo", init_method=(tmp_path / "meet").as_uri(), rank=0, world_size=1
        )
        try:
            function()
        finally:
            torch.distributed.destroy_process_group()

    return run


def synchronized_on_a_cpu():
    net = nn.SyncBatchNorm.convert_sync_batchnorm(nn.Sequential(nn.BatchNorm2d(2)))
    nn.parallel.DistributedDataParallel(net)


def nothing_learns():
    net = nn.Sequential(nn.BatchNorm2d(3)).requires_grad_(False)
    net(torch.randn(2, 3, 4, 4)).sum().backward()


def mode_changed():
    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.ReLU())
    y = checkpoint(net, torch.randn(2, 3, 4, 4).requires_grad_(), use_reentrant=False)
    net.eval()
    y.sum().backward()


def copied_with_an_activation():
    bn = nn.BatchNorm1d(3)
    bn.last = bn(torch.randn(4, 3))
    copy.deepcopy(bn)


def gradient_of_one_sample():
    net = nn.BatchNorm1d(3)

    def loss(parameters, x):
        return torch.func.functional_call(net, parameters, x).sum()

    torch.func.grad(loss)(dict(net.named_parameters()), torch.randn(4, 3))


def export_untracked():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), stateless_norm(4)).eval()
    torch.onnx.export(net, (torch.randn(2, 3, 4, 4),), io.BytesIO(), dynamo=False)


def keras_norm(channels=3, **settings):
    bn = keras.layers.BatchNormalization(**settings)
    bn.build((None, channels))
    return bn


def keras_net(channels=3, **settings):
    layers = [keras.Input((channels,)), keras.layers.BatchNormalization(**settings)]
    return keras.Sequential(layers)


def keras_load(net, other, tmp_path):
    other.save_weights(tmp_path / "a.weights.h5")
    net.load_weights(tmp_path / "a.weights.h5")


X = torch.randn(4, 3)
ONES = np.ones((4, 3), np.float32)
DEEP = nn.Sequential(nn.BatchNorm2d(4))
PROVOKED = {
    "Expected more than 1 value per channel when training, got input size …": lambda: (
        nn.BatchNorm2d(4)(torch.randn(1, 4, 1, 1))
    ),
    "Expected more than 1 spatial element when training, got input size …": lambda: (
        nn.InstanceNorm2d(4)(torch.randn(2, 4, 1, 1))
    ),
    "expected 4D input (got 3D input)": lambda: nn.BatchNorm2d(4)(torch.randn(2, 4, 3)),
    "expected 2D or 3D input (got 4D input)": lambda: nn.BatchNorm1d(4)(
        torch.randn(2, 4, 3, 3)
    ),
    "expected 5D input (got 4D input)": lambda: nn.BatchNorm3d(4)(
        torch.randn(2, 4, 3, 3)
    ),
    "running_mean should contain … elements not …": lambda: nn.BatchNorm1d(8)(X),
    "running_var should contain … elements not …": lambda: nn.functional.batch_norm(
        X, torch.ones(3), torch.ones(8), training=True
    ),
    "weight should contain … elements not …": lambda: nn.BatchNorm1d(
        8, track_running_stats=False
    )(X),
    "bias should contain … elements not …": lambda: nn.functional.batch_norm(
        X, None, None, bias=torch.ones(8), training=True
    ),
    "running_mean must be defined in evaluation mode": lambda: nn.functional.batch_norm(
        X, None, None
    ),
    "mixed dtype (CPU): all inputs must share same datatype.": lambda: nn.BatchNorm1d(
        3
    )(X.double()),
    "mixed dtype (CPU): expect parameter to have scalar type of Float": lambda: (
        nn.BatchNorm1d(3).half()(X)
    ),
    "mat1 and mat2 must have the same dtype, but got Half and Float": lambda: nn.Linear(
        3, 3
    )(X.half()),
    "\"batch_norm\" not implemented for 'Long'": lambda: nn.BatchNorm1d(3)(X.long()),
    "Tensor on device … is not on the expected device …": lambda: nn.BatchNorm1d(3).to(
        "meta"
    )(X),
    'Unexpected key(s) in state_dict: "running_mean", "running_var", '
    '"num_batches_tracked".': lambda: load(stateless_norm(4), nn.BatchNorm2d(4)),
    'Unexpected key(s) in state_dict: "….num_batches_tracked"': lambda: load(
        nn.Sequential(nn.GroupNorm(2, 4)), DEEP
    ),
    'Missing key(s) in state_dict: "running_mean", "running_var"': lambda: load(
        nn.BatchNorm2d(4), stateless_norm(4)
    ),
    'Missing key(s) in state_dict: "num_batches_tracked".': lambda: load(
        nn.BatchNorm2d(4), nn.BatchNorm2d(4), without=["num_batches_tracked"]
    ),
    'Unexpected key(s) in state_dict: "module.…': lambda: load(
        DEEP, nn.DataParallel(DEEP)
    ),
    'Unexpected running stats buffer(s) "running_mean" and "running_var" for InstanceNorm2d '
    "with track_running_stats=False.": lambda: load(
        nn.InstanceNorm2d(4, affine=True), nn.BatchNorm2d(4), plain=True
    ),
    "size mismatch for running_mean: copying a param with shape …": lambda: load(
        nn.BatchNorm2d(4), nn.BatchNorm2d(8)
    ),
    "Attempted to use an uninitialized parameter": lambda: copy.deepcopy(
        nn.LazyBatchNorm1d()
    ),
    "Only Tensors created explicitly by the user (graph leaves) support the deepcopy "
    "protocol": copied_with_an_activation,
    "one of the variables needed for gradient computation has been modified by an inplace "
    "operation": in_place,
    "SyncBatchNorm layers only work with GPU modules": in_a_group(
        synchronized_on_a_cpu
    ),
    "Default process group has not been initialized": lambda: (
        torch.distributed.all_reduce(torch.ones(1))
    ),
    "element 0 of tensors does not require grad and does not have a grad_fn": nothing_learns,
    "Recomputed values for the following tensors have different metadata than during the "
    "forward pass.": mode_changed,
    "Batch norm got a batched tensor as input while the running_mean or running_var, which "
    "will be updated in place, were not batched.": lambda: torch.vmap(
        nn.BatchNorm1d(3)
    )(torch.randn(5, 4, 3)),
    "the function provided attempted to call in-place operation (aten::add_.Tensor) that "
    "would mutate a captured Tensor": gradient_of_one_sample,
    "num_channels (…) must be divisible by num_groups (…)": lambda: nn.GroupNorm(3, 8),
    "Expected number of channels in input to be divisible by num_groups": lambda: (
        nn.functional.group_norm(torch.randn(2, 8), 3)
    ),
    "Fusion only for eval!": lambda: fuse_conv_bn_eval(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
    ),
    "bn.running_mean and bn.running_var must not be None": lambda: fuse_conv_bn_eval(
        nn.Conv2d(3, 4, 3).eval(), stateless_norm(4).eval()
    ),
    "Conv and BN both must be in the same mode (train or eval).": lambda: fuse_modules(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4).eval()), ["0", "1"]
    ),
    "did not find fuser method for: …": lambda: fuse_modules(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)).eval(),
        ["0", "1", "2"],
    ),
    "operator 'batch_norm' is set to train=True. Exporting with train=True.": (
        export_untracked
    ),
    "is incompatible with the layer: expected axis -1 of input shape to have value …, but "
    "received input with shape …": lambda: keras_norm()(np.ones((4, 5), np.float32)),
    "Shapes used to initialize variables must be fully-defined (no `None` dimensions).": (
        lambda: keras.layers.BatchNormalization(axis=1)(
            keras.KerasTensor((None, None, 3))
        )
    ),
    "You called `set_weights(weights)` on layer … with a weight list of length 2, but the "
    "layer was expecting 4 weights.": lambda: keras_norm().set_weights([ONES[0]] * 2),
    "Layer … weight shape … is not compatible with provided weight shape …": lambda: (
        keras_norm().set_weights([np.ones(4)] * 4)
    ),
    "objects could not be loaded": lambda tmp_path: keras_load(
        keras_net(4), keras_net(), tmp_path
    ),
    "expected 4 variables, but received 2 variables during loading.": lambda tmp_path: (
        keras_load(keras_net(), keras_net(scale=False, center=False), tmp_path)
    ),
    "The shape of the target variable and the shape of the target value in "
    "`variable.assign(value)` must match.": lambda: keras_norm().moving_mean.assign(
        np.ones(4)
    ),
    "Argument synchronized=True is only supported with the TensorFlow backend.": lambda: (
        keras_norm(synchronized=True)(ONES, training=True)
    ),
    "Unrecognized keyword arguments passed to BatchNormalization: {'fused': True}": lambda: (
        keras_norm(fused=True)
    ),
    "Unrecognized keyword arguments passed to BatchNormalization: {'virtual_batch_size': …}": (
        lambda: keras_norm(virtual_batch_size=2)
    ),
    "Argument `trainable_variables` must be a list of tensors corresponding 1:1 to": (
        lambda: keras_norm().stateless_call([], [], ONES)
    ),
    "The mask provided should be one dimension less than the inputs.": lambda: (
        keras_norm()(ONES, mask=np.ones((4, 2), bool), training=True)
    ),
    "float() argument must be a string or a real number, not 'NoneType'": lambda: (
        keras_norm(momentum=None)
    ),
}


def test_every_string_of_pytorch_and_keras_is_provoked():
    assert set(PROVOKED) == {text for text, source, _ in ERRORS if source is None}


@pytest.mark.parametrize("text", PROVOKED)
def test_an_error_says_what_the_index_says(text, tmp_path):
    function = PROVOKED[text]
    takes = getattr(function, "__code__", None) and function.__code__.co_argcount
    said = provoke((lambda: function(tmp_path)) if takes else function)
    assert re.search(as_pattern(text), said, re.DOTALL), said


# first_aid.py on networks of every kind


class Skip(nn.Module):
    def __init__(self, *branch):
        super().__init__()
        self.branch = nn.Sequential(*branch)

    def forward(self, x):
        return x + self.branch(x)


def network(dtype=torch.float32, **settings):
    """Return a small CNN with skips, dropout and a BatchNorm1d."""
    torch.manual_seed(0)

    def conv(inputs):
        return nn.Conv2d(inputs, 4, 3, padding=1, bias=False), nn.BatchNorm2d(
            4, **settings
        )

    net = nn.Sequential(
        *conv(2),
        nn.ReLU(),
        Skip(*conv(4), nn.ReLU(), nn.Dropout(0.5), Skip(*conv(4))),
        nn.Flatten(),
        nn.Linear(64, 6, bias=False),
        nn.BatchNorm1d(6, **settings),
        nn.Linear(6, 3),
    )
    return net.to(dtype)


def images(count=16, dtype=torch.float32):
    return torch.randn(count, 2, 4, 4, dtype=dtype) + 3


def trained(dtype=torch.float32):
    net = network(dtype)
    with torch.no_grad():
        for _ in range(60):
            net(images(dtype=dtype))
    return net


def modes(net):
    return [module.training for module in net.modules()]


def state(net):
    return {name: tensor.clone() for name, tensor in net.state_dict().items()}


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in b)


DTYPES = [torch.float32, torch.float64, torch.bfloat16]


def mixed_modes(net):
    """Put some modules into another mode than their parents."""
    net.train()
    net[3].branch[1].eval()
    net[6].eval()
    return net


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_checkup_finds_nothing_in_a_healthy_network(dtype):
    net = trained(dtype).eval()
    half = dtype.itemsize < 4
    findings = first_aid.checkup(net, images(64, dtype))
    assert [f for f in findings if not (half and "half precision" in f)] == []
    assert len(findings) == 4 * half


def test_checkup_changes_nothing():
    net = mixed_modes(trained())
    before, old = modes(net), state(net)
    first_aid.checkup(net, images())
    assert modes(net) == before
    assert same(state(net), old)
    with pytest.raises(RuntimeError):
        first_aid.checkup(net, torch.randn(2, 5, 4, 4))
    assert modes(net) == before
    assert not any(module._forward_pre_hooks for module in net.modules())


def spoil(net, name, index, value):
    with torch.no_grad():
        getattr(net[1], name)[index] = value
    return net


SICK = {
    "NaN or infinity in the buffers": lambda net: spoil(net, "running_mean", 1, torch.nan),
    "a negative variance": lambda net: spoil(net, "running_var", 1, -1.0),
    "a variance below ε": lambda net: spoil(net, "running_var", 1, 0.0),
    "a weight (γ) near 0": lambda net: spoil(net, "weight", 1, 0.0),
    "NaN or infinity in weight or bias": lambda net: spoil(net, "bias", 1, torch.inf),
    "means far from this batch": lambda net: spoil(net, "running_mean", 1, 100.0),
    "variances far from this batch": lambda net: spoil(net, "running_var", slice(0, 4), 99.0),
    "in training mode": lambda net: (net[1].train(), net)[1],
    "momentum above 0.5": lambda net: (setattr(net[1], "momentum", 0.9), net)[1],
    "momentum 0: the statistics never move": lambda net: (
        setattr(net[1], "momentum", 0.0),
        net,
    )[1],
    "never trained": lambda net: (net[1].reset_running_stats(), net)[1],
    "no running statistics": lambda net: first_aid.replace(net, lambda bn: (
        type(bn)(bn.num_features, track_running_stats=False).eval()
    )),
    "buffers in half precision": lambda net: (
        setattr(net[1], "running_var", net[1].running_var.half()),
        net,
    )[1],
}  # fmt: skip


@pytest.mark.parametrize("sign", SICK)
def test_checkup_sees(sign):
    net = SICK[sign](trained().eval())
    layer = "1"
    findings = first_aid.checkup(net, None if "half" in sign else images(64))
    assert f"{layer}: {sign}" in findings


def test_checkup_of_layers_that_do_not_run():
    class Unused(nn.Module):
        def __init__(self):
            super().__init__()
            self.net, self.spare = trained(), nn.BatchNorm3d(2)

        def forward(self, x):
            return self.net(x)

    findings = first_aid.checkup(Unused().eval(), images())
    assert findings == ["spare: never trained", "spare: does not run for this input"]


def test_checkup_does_not_ask_the_counter():
    # Weights from Keras come without one.
    net = trained().eval()
    for bn in first_aid.norms(net).values():
        bn.num_batches_tracked.zero_()
    assert first_aid.checkup(net, images(64)) == []


def test_checkup_takes_lazy_layers_tuples_and_dictionaries():
    assert "not initialized" in first_aid.checkup(nn.LazyBatchNorm2d(), images())[0]
    net = trained().eval()
    assert first_aid.checkup(net, (images(64),)) == []
    assert first_aid.checkup(net, {"input": images(64)}) == []


def test_one_value_per_channel_is_seen():
    net = trained().eval()
    assert any("one value per channel" in f for f in first_aid.checkup(net, images(1)))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_predict_and_evaluating_put_modes_back(dtype):
    net = mixed_modes(trained(dtype))
    before, old = modes(net), state(net)
    x = images(8, dtype)
    y = first_aid.predict(net, x)
    assert not y.requires_grad
    assert torch.equal(y, copy.deepcopy(net).eval()(x))

    def interrupted():
        with first_aid.evaluating(net):
            assert not any(modes(net))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert modes(net) == before
    assert same(state(net), old)


def test_buffers_kept():
    net = trained().train()
    old, tensors = state(net), [id(buffer) for buffer in net.buffers()]

    def interrupted():
        with first_aid.buffers_kept(net):
            net(images())
            assert not same(state(net), old)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert same(state(net), old)
    assert [id(buffer) for buffer in net.buffers()] == tensors
    # A graph from before or from within the block can still be used.
    y = net(images()).sum()
    with first_aid.buffers_kept(net):
        y = y + net(images()).sum()
    y.backward()


def test_buffers_guarded():
    net = trained().train()
    old = state(net)
    with first_aid.buffers_guarded(net):
        net(images() * torch.inf)
    assert same(state(net), old)
    with first_aid.buffers_guarded(net):
        net(images())
    assert not same(state(net), old)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_recompute(dtype):
    net = mixed_modes(trained(dtype))
    net[1].momentum = 0.3
    before, ids = modes(net), [id(buffer) for buffer in net.buffers()]
    data = [images(16, dtype) for _ in range(5)]
    assert first_aid.recompute(net, [(x, None) for x in data]) is net
    assert modes(net) == before
    assert net[1].momentum == 0.3
    assert net[6].momentum == 0.1
    assert [id(buffer) for buffer in net.buffers()] == ids
    assert net[1].num_batches_tracked == 5
    y = net[0](torch.cat(data))
    assert torch.allclose(net[1].running_mean, y.mean((0, 2, 3)), rtol=1e-4)
    # Dropout was off: the same once more.
    old = state(net)
    first_aid.recompute(net, iter(data))
    assert same(state(net), old)


def test_recompute_that_raises_has_changed_nothing():
    net = mixed_modes(trained())
    before, old = modes(net), state(net)
    with pytest.raises(ValueError, match="at least one batch"):
        first_aid.recompute(net, [])
    with pytest.raises(RuntimeError):
        first_aid.recompute(net, [images(), torch.randn(2, 7, 4, 4)])
    assert modes(net) == before
    assert same(state(net), old)
    assert net[1].momentum == 0.1


def test_freeze_holds_and_can_be_undone():
    net = first_aid.freeze(trained()).train()
    pickled = pickle.loads(pickle.dumps(net))
    for frozen in (net, copy.deepcopy(net).train(), pickled.train()):
        layers = first_aid.norms(frozen).values()
        assert not any(bn.training for bn in layers)
        assert frozen[3].branch[3].training  # dropout is not frozen
        optimizer = torch.optim.SGD(frozen.parameters(), lr=0.1)

        def step(frozen=frozen, optimizer=optimizer):
            frozen(images()).square().sum().backward()
            optimizer.step()

        first_aid.assert_frozen(frozen, step)
    first_aid.unfreeze(net).train()
    assert all(modes(net))
    assert all(p.requires_grad for p in net.parameters())


def test_idle_biases_follows_the_tensors():
    net = trained()
    assert first_aid.idle_biases(net, images(2)) == []
    net[3].branch[4].branch[0] = nn.Conv2d(4, 4, 1)
    net[5] = nn.Linear(64, 6)
    assert first_aid.idle_biases(net, images(2)) == ["3.branch.4.branch.0", "5"]
    with pytest.raises(AssertionError, match="right before"):
        first_aid.assert_no_idle_bias(net, images(2))


def test_slopes():
    net = trained()
    spoil(net, "running_var", 2, 0.0)
    assert first_aid.slopes(net)["1"] == pytest.approx(1e-5**-0.5, rel=1e-3)
    with pytest.raises(AssertionError, match="steeper"):
        first_aid.assert_slopes(net)


def test_assertions_fail_where_they_should():
    net, x = trained(), images()
    for broken in (
        lambda: first_aid.assert_company(net.train(), x),
        lambda: first_aid.assert_same_output(net.eval(), lambda x: net(x) + 1, x),
        lambda: first_aid.assert_same_output(net, lambda x: net(x) * torch.nan, x),
        lambda: first_aid.assert_modes_kept(net.train(), net.eval),
        lambda: first_aid.assert_state_kept(net.train(), lambda: net(x)),
        lambda: first_aid.assert_frozen(net.train(), lambda: net(x)),
        lambda: first_aid.assert_one_update(net.train(), lambda: (net(x), net(x))),
        lambda: first_aid.assert_one_update(net.eval(), lambda: net(x)),
        lambda: first_aid.assert_finite_state(spoil(trained(), "bias", 0, torch.nan)),
        lambda: first_aid.assert_full_precision(network(torch.float16)),
        lambda: first_aid.assert_runs(net, torch.randn(1, 7, 4, 4)),
        lambda: first_aid.assert_small_gap(net, lambda net: float(net.training)),
        lambda: first_aid.assert_own_statistics(network(), [x] * 3),
        lambda: first_aid.assert_no_decay(
            torch.optim.AdamW(net.parameters(), weight_decay=0.1), net
        ),
        lambda: first_aid.assert_alive(
            spoil(trained(), "weight", 0, 0.0),
            lambda net: net[2](net[1](net[0](x)) - 1e9).sum(),
        ),
    ):
        with pytest.raises(AssertionError):
            broken()


def test_assertions_pass_where_they_should():
    net, x = mixed_modes(trained()), images()
    first_aid.recompute(net, [images() for _ in range(20)])  # without dropout
    before, old = modes(net), state(net)
    first_aid.assert_company(lambda x: first_aid.predict(net, x), x)
    first_aid.assert_modes_kept(net, lambda: first_aid.predict(net, x))
    first_aid.assert_state_kept(net, lambda: first_aid.predict(net, x))
    first_aid.assert_finite_state(net)
    first_aid.assert_full_precision(net)
    first_aid.assert_runs(net, x)
    first_aid.assert_small_gap(net, lambda net: float(net(x).isfinite().all()))
    first_aid.assert_own_statistics(net, [images() for _ in range(20)])
    first_aid.assert_no_decay(torch.optim.SGD(net.parameters(), lr=0.1), net)
    first_aid.assert_alive(net, lambda net: net(x).square().sum())
    assert modes(net) == before
    assert same(state(net), old)
    first_aid.assert_one_update(net.train(), lambda: net(x))


def test_tell_apart(capsys):
    def is_right(x):
        assert x

    first_aid.tell_apart(is_right, False, True)
    assert capsys.readouterr().out == "is_right: ✗ broken  ✓ cured\n"
    with pytest.raises(RuntimeError, match="does not see"):
        first_aid.tell_apart(is_right, True, True)
    with pytest.raises(AssertionError):
        first_aid.tell_apart(is_right, False, False)


RANK = """
import os, sys, warnings
os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
warnings.simplefilter("ignore")
import torch
from torch import nn
torch.set_num_threads(1)
folder, rank = sys.argv[1], int(sys.argv[2])
torch.distributed.init_process_group(
    "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
for name, settings in {"default": {}, "off": {"broadcast_buffers": False}}.items():
    net = nn.parallel.DistributedDataParallel(nn.BatchNorm1d(1, momentum=1.0), **settings)
    for _ in range(2):
        y = net(torch.full((2, 1), 1.0 + rank).cumsum(0))
    net.eval()(torch.zeros(2, 1))  # copies the buffers once more, or not
    y.sum().backward()
    print(name, net.module.running_mean.item())
torch.distributed.destroy_process_group()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the loopback's name is Linux's")
def test_the_buffers_of_rank_0_survive(tmp_path):
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, str(tmp_path), str(rank)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [rank.communicate(timeout=100)[0].split("\n") for rank in ranks]
    assert said[0][:2] == ["default 1.5", "off 1.5"]
    assert said[1][:2] == ["default 1.5", "off 3.0"]
