"The losses of style transfer: one formula, in NumPy and both frameworks, with the gradients by hand."

import keras
import numpy as np
import pytest
import tensorflow as tf
import torch

from cnncourse import style
from cnncourse.style import content_loss, gram, style_loss, total_variation
from cnncourse.tensors import alike

CLOSE = {"atol": 1e-9, "rtol": 1e-9}


def drawn(seed):
    "Two layers of maps, the Gram matrices of other pictures of other sizes, and a target."
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 4))
    shapes = [(n, *rng.integers(1, 6, size=3).tolist()) for _ in range(2)]
    layers = [rng.normal(size=shape) * 3 for shape in shapes]
    styles = [gram(rng.normal(size=(1, shape[1], 3, 8)))[0] for shape in shapes]
    return layers, styles, rng.normal(size=shapes[0]), rng.uniform(0, 5, size=2).tolist()


def last(maps):
    return np.moveaxis(maps, 1, -1)


def all_losses(layers, styles, target, weights, **options):
    return (
        style_loss(layers, styles, weights, **options),
        content_loss(layers[0], target),
        total_variation(layers[0], **options),
    )


@pytest.mark.parametrize("seed", range(8))
def test_losses_and_gradients_by_hand_are_those_of_both_frameworks(seed):
    layers, styles, target, weights = drawn(seed)
    mine = all_losses(layers, styles, target, weights)
    hand = [
        *style.style_loss_backward(layers, styles, weights),
        style.content_loss_backward(layers[0], target),
        style.total_variation_backward(layers[0]),
    ]
    tensors = [torch.tensor(layer, requires_grad=True) for layer in layers]
    found = all_losses(tensors, styles, target, weights)
    slopes = [*torch.autograd.grad(found[0], tensors), *(torch.autograd.grad(f, tensors[0])[0] for f in found[1:])]
    np.testing.assert_allclose([f.item() for f in found], mine, **CLOSE)
    for a, b in zip(hand, slopes, strict=True):
        np.testing.assert_allclose(a, b.numpy(), **CLOSE)
    variables = [tf.Variable(last(layer)) for layer in layers]
    with tf.GradientTape(persistent=True) as tape:
        found = all_losses(variables, styles, last(target), weights, channels_last=True)
    slopes = [*tape.gradient(found[0], variables), *(tape.gradient(f, variables[0]) for f in found[1:])]
    np.testing.assert_allclose([float(f) for f in found], mine, **CLOSE)
    for a, b in zip(hand, slopes, strict=True):
        np.testing.assert_allclose(last(a), b.numpy(), **CLOSE)


@pytest.mark.parametrize("seed", range(3))
def test_gradients_by_hand_are_those_of_differences(seed):
    layers, styles, _, weights = drawn(seed + 20)
    hand = style.style_loss_backward(layers, styles, weights)
    for layer, slope in zip(layers, hand, strict=True):
        for place in list(np.ndindex(layer.shape))[::7]:
            old, seen = layer[place], []
            for layer[place] in (old + 1e-5, old - 1e-5):
                seen.append(style_loss(layers, styles, weights))
            layer[place] = old
            assert abs((seen[0] - seen[1]) / 2e-5 - slope[place]) < 1e-5 * max(1, abs(slope[place]))


def test_a_gram_matrix_forgets_places_and_is_the_papers():
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(2, 3, 4, 5))
    flat = maps.reshape(2, 3, 20)
    shuffled = flat[..., rng.permutation(20)].reshape(maps.shape)
    np.testing.assert_allclose(gram(shuffled), gram(maps))
    np.testing.assert_allclose(gram(maps)[1], flat[1] @ flat[1].T / 20)
    other = rng.normal(size=(1, 3, 20))
    whole = ((flat[1] @ flat[1].T - other[0] @ other[0].T) ** 2).sum() / (4 * 3**2 * 20**2)  # equation 4
    got = style_loss([maps[1:]], [gram(other.reshape(1, 3, 2, 10))])
    np.testing.assert_allclose(got, whole)


def test_total_variation_of_flat_noisy_and_narrow_pictures():
    flat, board = np.full((2, 3, 4, 4), 0.3), np.indices((4, 4)).sum(0)[None, None] % 2.0
    assert (total_variation(flat), total_variation(board), total_variation(board[..., :1, :1])) == (0, 1.5, 0)
    assert total_variation(last(board), channels_last=True) == 1.5


def test_tensors_keep_their_kind_and_precision():
    one = torch.ones(1, 2, 2, 2, dtype=torch.float32)
    assert content_loss(one, np.zeros((1, 2, 2, 2))).dtype == torch.float32
    two = keras.ops.ones((1, 2, 2, 2), "float32")
    assert keras.backend.standardize_dtype(content_loss(np.zeros((1, 2, 2, 2)), two).dtype) == "float32"
    assert isinstance(gram([[[[1.0]]]]), np.ndarray)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: gram(np.ones((3, 4))), "maps should have four axes"),
        (lambda: gram(np.ones((1, 3, 0, 4))), "none of them empty; got (1, 3, 0, 4)"),
        (lambda: style_loss([], []), "one for each layer; got 0 and 0"),
        (lambda: style_loss(np.ones((1, 1, 2, 2)), [np.eye(1)]), "got no list and 1"),
        (lambda: style_loss([np.ones((1, 2, 2, 2))], [np.ones((1, 3, 3))]), "that of a layer of 2 maps; got (1, 3, 3)"),
        (lambda: style_loss([np.ones((2, 2, 2, 2))], [np.ones((3, 2, 2))]), "that of a layer of 2 maps; got (3, 2, 2)"),
        (lambda: style_loss([np.ones((1, 2, 2, 2))], [np.eye(2)], [np.nan]), "weights should be 1 numbers from 0"),
        (lambda: content_loss(np.ones((1, 2, 2, 2)), np.ones((1, 2, 4, 4))), "pictures of one size"),
        (lambda: content_loss(torch.ones(2), keras.ops.ones(2)), "PyTorch and of Keras were given together"),
        (lambda: alike(torch.ones(2), keras.ops.ones(2), 3), "give all of one kind"),
        (lambda: total_variation(np.ones((4, 4))), "pictures should have four axes"),
    ],
)
def test_wrong_input_is_told_in_one_sentence(call, said):
    with pytest.raises(ValueError) as told:
        call()
    assert said in str(told.value) and "\n" not in str(told.value)
