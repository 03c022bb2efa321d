"Recurrent cells: equal to both frameworks on random cases, forward and backward, and in both directions; wrong input is told in one sentence."

import keras
import numpy as np
import pytest
import tensorflow as tf
import torch

from cnncourse import recurrent
from cnncourse.recurrent import GATES, cell_weights, gradient_reach, read_cell, unroll, unroll_backward, write_cell

CLOSE = {"atol": 1e-6, "rtol": 1e-6}
KERAS = [("simple", True), ("lstm", True), ("gru", True), ("gru", False)]
LAYERS = {"simple": "SimpleRNN", "lstm": "LSTM", "gru": "GRU"}


def sizes(seed):
    "Random numbers of sequences, steps, features and units."
    rng = np.random.default_rng(seed)
    return rng, *rng.integers(1, 7, size=4).tolist()


def in_keras(kind, units, features, reset_after, **options):
    options |= {"reset_after": reset_after} if kind == "gru" else {}
    layer = getattr(keras.layers, LAYERS[kind])(units, return_sequences=True, dtype="float64", **options)
    layer.build((None, None, features))
    return layer


def in_torch(kind, features, units, **options):
    made = {"simple": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[kind]
    return made(features, units, batch_first=True, **options).double()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("kind", "reset_after"), KERAS)
def test_a_cell_is_that_of_keras_forward_and_backward(kind, reset_after, seed):
    rng, n, time, features, units = sizes(seed)
    x, d_out = rng.normal(size=(n, time, features)), rng.normal(size=(n, time, units))
    layer = in_keras(kind, units, features, reset_after)
    layer.set_weights([rng.normal(size=array.shape) for array in layer.get_weights()])
    with tf.GradientTape() as tape:
        tape.watch(read := tf.constant(x))
        outputs = layer(read)
        loss = tf.reduce_sum(outputs * d_out)
    d_read, (d_x, d_h, *d_bias) = tape.gradient(loss, [read, layer.trainable_variables])
    run = unroll(x, read_cell(layer))
    got = unroll_backward(run, d_out)
    np.testing.assert_allclose(run.outputs, outputs.numpy(), **CLOSE)
    np.testing.assert_allclose(got.x, d_read.numpy(), **CLOSE)
    mirror = in_keras(kind, units, features, reset_after)  # the gradients, laid out as Keras lays out weights
    write_cell(mirror, got.weights._replace(b_h=got.weights.b_h * (kind == "gru" and reset_after)))
    for mine, theirs in zip(mirror.get_weights(), (d_x, d_h, *d_bias), strict=True):
        np.testing.assert_allclose(mine, theirs.numpy(), **CLOSE)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("kind", GATES)
def test_a_cell_is_that_of_pytorch_forward_and_backward_with_unlike_lengths(kind, seed):
    rng, n, time, features, units = sizes(seed)
    x, d_out = rng.normal(size=(n, time, features)), rng.normal(size=(n, time, units))
    lengths = rng.integers(1, time + 1, size=n)
    layer, read = in_torch(kind, features, units), torch.tensor(x, requires_grad=True)
    pack = torch.nn.utils.rnn.pack_padded_sequence(read, lengths, batch_first=True, enforce_sorted=False)
    packed, last = layer(pack)
    outputs, _ = torch.nn.utils.rnn.pad_packed_sequence(packed, batch_first=True, total_length=time)
    d_last = [rng.normal(size=(n, units)) for _ in range(1 + (kind == "lstm"))]
    last = last if isinstance(last, tuple) else (last,)
    ends = sum((part[0] * torch.tensor(d)).sum() for part, d in zip(last, d_last, strict=True))
    ((outputs * torch.tensor(d_out)).sum() + ends).backward()
    run = unroll(x, read_cell(layer), lengths=lengths)
    got = unroll_backward(run, d_out, tuple(d_last))
    np.testing.assert_allclose(run.outputs, outputs.detach().numpy(), **CLOSE)
    for mine, theirs in zip(run.state, last, strict=True):
        np.testing.assert_allclose(mine, theirs[0].detach().numpy(), **CLOSE)
    np.testing.assert_allclose(got.x, read.grad.numpy(), **CLOSE)
    for mine, theirs in zip(got.weights[1:5], layer.parameters(), strict=True):
        np.testing.assert_allclose(mine, theirs.grad.numpy(), **CLOSE)


@pytest.mark.parametrize("kind", GATES)
def test_one_step_is_that_of_pytorchs_cell(kind):
    rng, n, _, features, units = sizes(7)
    cell = {"simple": torch.nn.RNNCell, "lstm": torch.nn.LSTMCell, "gru": torch.nn.GRUCell}[kind](features, units)
    step = {"simple": recurrent.rnn_cell, "lstm": recurrent.lstm_cell, "gru": recurrent.gru_cell}[kind]
    x, state = rng.normal(size=(n, features)), [rng.normal(size=(n, units)) for _ in range(1 + (kind == "lstm"))]
    state = state if kind == "lstm" else state[0]
    as_torch = (torch.tensor(s) for s in state) if kind == "lstm" else torch.tensor(state)
    wanted = cell.double()(torch.tensor(x), tuple(as_torch) if kind == "lstm" else as_torch)
    wanted = wanted if kind == "lstm" else (wanted,)
    got = step(x, state, read_cell(cell))
    for mine, theirs in zip(got if kind == "lstm" else (got,), wanted, strict=True):
        np.testing.assert_allclose(mine, theirs.detach().numpy(), **CLOSE)


@pytest.mark.parametrize(("kind", "reset_after"), [*KERAS[:2], KERAS[3]])
def test_both_directions_are_those_of_both_frameworks(kind, reset_after):
    rng, n, time, features, units = sizes(11)
    x = rng.normal(size=(n, time, features))
    inner = in_keras(kind, units, features, reset_after)
    layer = keras.layers.Bidirectional(inner, dtype="float64")
    outputs = layer(tf.constant(x)).numpy()
    got = recurrent.bidirectional(x, read_cell(layer), read_cell(layer, backward=True))
    np.testing.assert_allclose(got.outputs, outputs, **CLOSE)
    both = in_torch(kind, features, units, bidirectional=True)
    pair = read_cell(both), read_cell(both, backward=True)
    wanted = both(torch.tensor(x))[0].detach().numpy()
    np.testing.assert_allclose(recurrent.bidirectional(x, *pair).outputs, wanted, **CLOSE)


@pytest.mark.parametrize("lengths", [None, [5, 2, 0]])
def test_two_chains_do_not_touch_and_meet_in_what_was_read(lengths):
    rng = np.random.default_rng(3)
    x, d_out = rng.normal(size=(3, 5, 2)), rng.normal(size=(3, 5, 7))
    pair = cell_weights("lstm", 2, 3), cell_weights("gru", 2, 4, reset_after=False)
    run = recurrent.bidirectional(x, *pair, lengths=lengths)
    d_x, *_ = recurrent.bidirectional_backward(run, d_out)
    alone = [
        unroll_backward(unroll(x, pair[0], lengths=lengths), d_out[..., :3]).x,
        unroll_backward(unroll(x, pair[1], lengths=lengths, backwards=True), d_out[..., 3:]).x,
    ]
    np.testing.assert_allclose(d_x, sum(alone), atol=1e-12)
    if lengths:  # what stands behind the end counts for nothing
        other = np.where(np.arange(5)[None, :, None] < np.array(lengths)[:, None, None], x, 99.0)
        np.testing.assert_array_equal(recurrent.bidirectional(other, *pair, lengths=lengths).outputs, run.outputs)


def test_weights_go_from_one_framework_to_the_other_and_back():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(2, 4, 3))
    for kind in GATES:
        first, second, third = in_torch(kind, 3, 4), in_keras(kind, 4, 3, True), in_torch(kind, 3, 4)
        write_cell(second, read_cell(first))
        write_cell(third, read_cell(second))
        a, c = (layer(torch.tensor(x))[0].detach().numpy() for layer in (first, third))
        np.testing.assert_allclose(second(tf.constant(x)).numpy(), a, **CLOSE)
        np.testing.assert_allclose(c, a, **CLOSE)


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.0, 1.1, 1.5])
def test_a_still_simple_cell_scales_the_gradient_by_its_factor_at_every_step(factor):
    turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))
    weights = recurrent.CellWeights("simple", np.zeros((6, 1)), factor * turn, np.zeros(6), np.zeros(6))
    np.testing.assert_allclose(gradient_reach(weights, np.zeros((2, 30, 1))), factor ** np.arange(31.0))


def test_the_gradient_lives_longer_in_an_lstm_that_forgets_little_than_in_a_simple_cell():
    x = np.random.default_rng(2).normal(size=(8, 60, 4))
    simple, lstm = cell_weights("simple", 4, 8), cell_weights("lstm", 4, 8)
    lstm.b_x[8:16] += 4
    assert gradient_reach(simple, x)[-1] < 1e-6 < 1e-2 < gradient_reach(lstm, x)[-1]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: unroll([[[1.0, 2.0]], [[1.0]]], cell_weights("gru", 2, 3)), "unlike length are padded to one length"),
        (lambda: unroll(np.ones((2, 4)), cell_weights("gru", 2, 3)), "x should be (n, time, features) with 2 features"),
        (lambda: unroll([["a"]], cell_weights("gru", 2, 3)), "x should be one array (n, time, features)"),
        (lambda: unroll(np.ones((2, 4, 2)), cell_weights("lstm", 2, 3), np.zeros((2, 3))), "a pair (h, c) of arrays"),
        (lambda: unroll(np.ones((2, 4, 2)), cell_weights("gru", 2, 3), np.zeros((1, 3))), "an array h of shape (2, 3)"),
        (lambda: unroll(np.ones((2, 4, 2)), cell_weights("gru", 2, 3), lengths=[1]), "lengths should be 2 whole numbers"),
        (lambda: unroll(np.ones((1, 4, 2)), cell_weights("gru", 2, 3), lengths=[-1]), "from 0 to 4"),
        (lambda: unroll(np.ones((1, 4, 2)), cell_weights("gru", 2, 3), lengths=[1.0]), "whole numbers"),
        (lambda: read_cell(torch.nn.LSTM(2, 3, num_layers=2)), "is 2 deep or has a projection"),
        (lambda: read_cell(torch.nn.LSTM(2, 3, proj_size=1)), "is 1 deep or has a projection"),
        (lambda: read_cell(keras.layers.Dense(2)), "a SimpleRNN, RNN, LSTM or GRU of PyTorch or Keras is needed; got Dense"),
        (lambda: read_cell("lstm"), "is needed; got str"),
        (lambda: read_cell(in_keras("lstm", 2, 2, True, activation="relu")), "squashes by relu and sigmoid"),
        (lambda: write_cell(in_keras("gru", 3, 2, False), cell_weights("gru", 2, 3)), "acts after w_h"),
        (lambda: write_cell(in_keras("gru", 3, 2, True, use_bias=False), cell_weights("gru", 2, 3)), "has none"),
        (lambda: write_cell(torch.nn.GRU(2, 3), cell_weights("lstm", 2, 3)), "those of a lstm cell of 2 features"),
    ],
)  # fmt: skip
def test_wrong_input_is_told_in_one_sentence(call, said):
    with pytest.raises(ValueError) as told:
        call()
    assert said in str(told.value) and "\n" not in str(told.value)


def test_a_layer_without_biases_has_zeros_and_takes_none():
    layer = torch.nn.GRU(2, 3, bias=False)
    weights = read_cell(layer)
    assert not weights.b_x.any() and weights.b_x.shape == (9,)
    write_cell(in_keras("gru", 3, 2, True, use_bias=False), weights)
