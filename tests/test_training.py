"""Training: against PyTorch's own pieces, the same in both frameworks, killed and resumed, and every mistake at the door."""

import contextlib
import json
import multiprocessing
import os
import signal
import threading
import time
from functools import partial

import numpy as np
import pytest
import torch
from conftest import cnncourse
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cnncourse import files
from cnncourse import training as tr

RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 1, 6, 6)).astype(np.float32)
Y = RNG.integers(0, 3, 50)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def network(channels: int = 4, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    blocks = [nn.Conv2d(1, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*blocks, nn.Flatten(), nn.Dropout(0.3), nn.Linear(channels * 9, 3))


def same_weights(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def without_times(history: tr.History) -> list[dict]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in history.epochs]


def keras_twin(model: nn.Module):
    "The same network in Keras, with the same weights."
    import keras

    conv, norm, _, _, _, dropout, dense = model
    blocks = [
        keras.layers.Conv2D(conv.out_channels, 3, padding="same", use_bias=False, name="conv"),
        keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name="norm"),
        keras.layers.ReLU(),
        keras.layers.MaxPooling2D(2),
        keras.layers.Permute((3, 1, 2)),  # the dense layer reads channel by channel, as in PyTorch
        keras.layers.Flatten(),
        keras.layers.Dropout(dropout.p),
        keras.layers.Dense(3, name="fc"),
    ]
    twin = keras.Sequential([keras.Input((6, 6, 1)), *blocks])
    weights = [conv.weight.permute(2, 3, 1, 0), norm.weight, norm.bias]
    weights += [norm.running_mean, norm.running_var, dense.weight.T, dense.bias]
    twin.set_weights([w.detach().numpy() for w in weights])
    return twin


# The loop does what PyTorch's pieces do


def by_hand(model, lr: float, epochs: int, momentum: float = 0.0, decay: float = 0.0) -> list[float]:
    "The loop, written out once more without the module."
    weights = [{"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": decay}]
    rest = [{"params": [p for p in model.parameters() if p.ndim == 1], "weight_decay": 0}]
    optimizer, found = torch.optim.SGD(weights + rest, lr=lr, momentum=momentum), []
    for epoch in range(epochs):
        total = 0.0
        for x, y in tr.epoch_batches(X, Y, batch_size=16, epoch=epoch):
            loss = nn.functional.cross_entropy(model(torch.from_numpy(x)), torch.from_numpy(y))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(y)
        found.append(total / len(X))
    return found


def without_dropout() -> nn.Module:
    model = network()
    model[5].p = 0.0
    return model


def test_the_loop_is_the_loop():
    a, b = without_dropout(), without_dropout()
    optimizer = partial(torch.optim.SGD, momentum=0.9)
    history = tr.fit(a, X, Y, epochs=3, batch_size=16, lr=0.05, optimizer=optimizer, weight_decay=0.1)
    assert history["loss"] == pytest.approx(by_hand(b, 0.05, 3, 0.9, 0.1), rel=1e-5)
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        torch.testing.assert_close(p, q)


@given(st.integers(4, 60), st.floats(0.1, 0.9))
@settings(max_examples=20, deadline=None)
def test_schedules_are_pytorchs(steps, warmup):
    def torchs(make):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        schedule, rates = make(optimizer), []
        for _ in range(steps):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        return rates

    lr = torch.optim.lr_scheduler
    cosine = tr.cosine(end=0.1)
    expected = torchs(lambda optimizer: lr.CosineAnnealingLR(optimizer, steps, eta_min=0.1))
    assert [cosine(k, steps) for k in range(steps)] == pytest.approx(expected)
    assert [tr.step(3, 0.5)(k, steps) for k in range(steps)] == torchs(lambda optimizer: lr.StepLR(optimizer, 3, 0.5))
    # PyTorch's cycle ends on the last step, ours on the end of the last epoch
    if warmup * steps > 2:
        expected = torchs(lambda optimizer: lr.OneCycleLR(optimizer, 1.0, total_steps=steps, pct_start=warmup))
        cycle = tr.one_cycle(warmup=(warmup * steps - 1) / (steps - 1))
        assert [cycle(k, steps - 1) for k in range(steps)] == pytest.approx(expected)


@given(st.integers(1, 70), st.integers(1, 80), st.integers(0, 5))
@settings(max_examples=50, deadline=None)
def test_an_epoch_has_every_example_once(n, batch_size, epoch):
    x = np.arange(n, dtype=np.float32)[:, None]
    found = list(tr.epoch_batches(x, x, batch_size=batch_size, epoch=epoch))
    assert len(found) == -(-n // batch_size)
    sizes = [len(xb) for xb, _ in found]
    assert max(sizes) <= batch_size and max(sizes) - min(sizes) <= 1
    assert sorted(np.concatenate([xb for xb, _ in found])[:, 0]) == list(range(n))
    late = list(tr.epoch_batches(x, x, batch_size=batch_size, epoch=epoch, start=1))
    assert all((a[0] == b[0]).all() for a, b in zip(found[1:], late, strict=True))


def test_same_seed_same_numbers_and_the_callers_generator_is_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    models = [network(), network(), network()]
    torch.manual_seed(5)
    histories = [tr.fit(m, X, Y, epochs=2, seed=s) for m, s in zip(models, (0, 0, 1), strict=True)]
    assert torch.equal(torch.rand(3), expected)
    assert without_times(histories[0]) == without_times(histories[1]) != without_times(histories[2])
    assert same_weights(models[0], models[1]) and not same_weights(models[0], models[2])


@pytest.mark.parametrize("fails", [False, True])
def test_a_network_and_its_loss_are_back_where_they_were_after_training(fails):
    moves = []

    class Here(torch.nn.Module):
        def to(self, device, *more, **options):
            moves.append((type(self).__name__, torch.device(device).type))
            return super().to(device, *more, **options)

    class Net(Here, torch.nn.Sequential): ...

    class Loss(Here, torch.nn.CrossEntropyLoss): ...

    class Fails(tr.Callback):
        def on_epoch_end(self, run):
            raise KeyboardInterrupt

    loss = Loss(weight=torch.ones(3))
    with pytest.raises(KeyboardInterrupt) if fails else contextlib.nullcontext():
        tr.fit(Net(*network()), X, Y, epochs=1, loss=loss, device="cpu", callbacks=[Fails()] if fails else [])
    assert moves == 2 * [("Net", "cpu"), ("Loss", "cpu")]


def test_rates_by_prefix():
    model = network()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    tr.fit(model, X, Y, epochs=1, lr={"": 0.0, "6": 0.01}, weight_decay=0.1)
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {"6.weight", "6.bias"}


def test_a_frozen_parameter_needs_no_rate():
    model = network()
    model[0].requires_grad_(False)
    before = model[0].weight.clone()
    tr.fit(model, X, Y, epochs=1, lr={"1": 0.1, "6": 0.1})
    assert torch.equal(model[0].weight, before)


def test_a_layer_may_stay_in_inference_mode():
    class Frozen(tr.Callback):
        def on_epoch_begin(self, run):
            run.model[1].eval()

    model = network()
    tr.fit(model, X, Y, epochs=2, validation=(X, Y), callbacks=[Frozen()])
    assert torch.equal(model[1].running_mean, torch.zeros(4))


def test_augment_sees_training_batches_only():
    seen = []

    def augment(x, rng):
        seen.append(len(x))
        return x[..., ::-1] if rng.random() < 0.5 else x

    history = tr.fit(network(), X, Y, epochs=2, batch_size=20, augment=augment, validation=(X, Y))
    assert seen == [17, 17, 16] * 2 and len(history) == 2


@pytest.mark.parametrize("kind", ["dataset", "loader", "list"])
def test_other_sources_of_examples(kind):
    dataset = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    loader = torch.utils.data.DataLoader(dataset, batch_size=16, shuffle=True)
    x = {"dataset": dataset, "loader": loader, "list": [(X[:20], Y[:20]), (X[20:], Y[20:])]}[kind]
    history = tr.fit(network(), x, epochs=2, batch_size=16, schedule=tr.cosine(), validation=x)
    assert history.keys() == ["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "lr", "seconds"]
    if kind == "dataset":  # the order is that of arrays
        arrays = tr.fit(network(), X, Y, epochs=2, batch_size=16, schedule=tr.cosine(), validation=(X, Y))
        assert without_times(arrays) == without_times(history)
    test = tr.evaluate(network(), loader)
    assert test["loss"] == pytest.approx(tr.evaluate(network(), X, Y)["loss"], rel=1e-5)


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there():
    with pytest.raises(ValueError, match="There is no device 'cuda' here"):
        tr.fit(network(), X, Y, epochs=1, device="cuda")


def test_a_loss_of_ones_own():
    own = partial(nn.functional.cross_entropy, label_smoothing=0.1)
    assert tr.fit(network(), X, Y, epochs=1, loss=own).keys() == ["epoch", "loss", "accuracy", "lr", "seconds"]
    named = tr.evaluate(network(), X, Y, loss=nn.functional.cross_entropy)  # its name is that of the default
    assert named == tr.evaluate(network(), X, Y)


def test_a_loader_that_does_not_know_its_length():
    class Endless(torch.utils.data.IterableDataset):
        def __iter__(self):
            return zip(torch.from_numpy(X), torch.from_numpy(Y), strict=True)

    loader = torch.utils.data.DataLoader(Endless(), batch_size=16)
    assert len(tr.fit(network(), loader, epochs=2)) == 2
    with pytest.raises(ValueError, match="how many batches an epoch has"):
        tr.fit(network(), loader, epochs=2, schedule=tr.cosine())


def test_pixels_as_labels():
    model = nn.Conv2d(1, 3, 3, padding=1)
    masks = RNG.integers(0, 3, (50, 6, 6))
    history = tr.fit(model, X, masks, epochs=1, validation=(X, masks))
    assert history["val_accuracy"][0] == (tr.predict(model, X).argmax(1) == masks).mean()


# Callbacks


def test_early_stopping_keeps_the_best_epoch():
    class Worse(tr.Callback):  # the second epoch is the best
        def on_epoch_end(self, run):
            run.row["val_loss"] = [3.0, 1.0, 2.0, 1.0, float("nan")][run.epoch - 1]
            kept.append(run.weights())

    kept, model = [], network()
    history = tr.fit(model, X, Y, epochs=9, validation=(X, Y), callbacks=[Worse(), tr.EarlyStopping(patience=3)])
    assert len(history) == 5
    assert all(torch.equal(kept[1][name], tensor) for name, tensor in model.state_dict().items())


def test_progress_is_plain_where_there_is_no_terminal(capsys):
    tr.fit(network(), X, Y, epochs=30, callbacks=[tr.Progress()])
    printed = capsys.readouterr().out
    assert len(printed.splitlines()) == 10 and printed.isprintable() is False
    assert set(printed) - set("\n") == {c for c in printed if c.isprintable()}
    assert printed.splitlines()[-1].startswith("epoch 30/30  loss ")


def test_progress_is_a_bar_on_a_terminal(capsys, monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    tr.fit(network(), X, Y, epochs=3, callbacks=[tr.Progress()])
    printed = capsys.readouterr().out
    assert "\x1b[" in printed and "6/6" in printed and "epoch 3/3" in printed


def test_gradient_norms_are_those_of_the_gradients():
    class Own(tr.Callback):
        def on_batch_end(self, run):
            p = run.model[6]
            found.append(torch.cat([p.weight.grad.flatten(), p.bias.grad]).norm().item())

    found, norms = [], tr.GradientNorms()
    tr.fit(network(), X, Y, epochs=1, batch_size=16, callbacks=[norms, Own()])
    assert norms.epochs[0]["6"] == pytest.approx(np.mean(found), rel=1e-5)


class Explodes(nn.Module):
    "Divides by zero from the third batch on."

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls += self.training
        return x / (0.0 if self.calls > 2 else 1.0)


def test_the_layer_that_explodes_is_named():
    model = network()
    model.insert(4, Explodes())
    with pytest.raises(tr.TrainingError, match=r"step 3, in epoch 1: the loss is .*the output of 4") as caught:
        tr.fit(model, X, Y, epochs=2, batch_size=10)
    assert (caught.value.step, caught.value.layer, len(caught.value.history)) == (3, "4", 0)
    assert all(p.isfinite().all() for p in model.parameters())


def test_a_gradient_that_explodes_is_named():
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))  # sqrt has an infinite slope at 0
    nn.init.zeros_(model[1].weight)
    nn.init.zeros_(model[1].bias)
    loss = lambda outputs, targets: outputs.sqrt().sum()  # noqa: E731
    with pytest.raises(tr.TrainingError, match=r"the loss is 0\.0, and .* the gradient at the output of 1"):
        tr.fit(model, X, Y, epochs=1, loss=loss)
    assert model[1].weight.abs().max() == 0
    hidden = nn.Sequential(model, nn.ReLU())  # ReLU stops it: the weights' gradients are finite, and nothing is wrong
    assert len(tr.fit(hidden, X, Y, epochs=1, loss=loss)) == 1


# Checkpoints


OPTIONS = {"epochs": 3, "batch_size": 10, "lr": 0.01, "schedule": tr.one_cycle(), "weight_decay": 0.01}


def shaky(x, rng):
    "An augmentation that also draws from NumPy's global generator, as other people's code does."
    return x[..., :: rng.choice([-1, 1])] + np.float32(np.random.normal())  # noqa: NPY002


def train_slowly(path: str, out: str) -> None:
    "In a process of its own: train, or go on, and write the final weights."
    torch.set_num_threads(1)
    tr.seed_everything(3)
    model = network()
    norms, stopping, checkpoint = tr.GradientNorms(), tr.EarlyStopping(patience=9), tr.Checkpoint(path, every=1)
    options = OPTIONS | {"epochs": 40, "validation": (X, Y), "augment": shaky}
    history = tr.fit(model, X, Y, **options, callbacks=[stopping, norms, checkpoint])
    torch.save({"weights": model.state_dict(), "history": without_times(history), "norms": norms.epochs}, f"{out}.part")
    os.replace(f"{out}.part", out)


def test_killed_at_random_moments_it_ends_with_the_same_weights(tmp_path):
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["torch", "test_training"])

    def start(name):
        process = processes.Process(
            target=train_slowly, args=(str(tmp_path / f"{name}.ckpt"), str(tmp_path / f"{name}.out"))
        )
        process.start()
        return process

    whole = start("whole")
    whole.join()
    assert whole.exitcode == 0
    rng, kills = np.random.default_rng(), 0
    while not (tmp_path / "killed.out").exists():
        process = start("killed")
        while kills < 5 and process.is_alive() and not (tmp_path / "killed.ckpt").exists():
            time.sleep(0.001)
        process.join(rng.uniform(0.02, 0.15) if kills < 5 else None)
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            kills += 1
    assert kills >= 2
    a, b = (torch.load(tmp_path / f"{name}.out") for name in ("whole", "killed"))
    assert a["history"] == b["history"] and a["norms"] == b["norms"]
    assert all(torch.equal(a["weights"][name], b["weights"][name]) for name in a["weights"])


def test_a_finished_training_is_not_trained_again_and_may_be_made_longer(tmp_path):
    options = {"epochs": 2, "callbacks": [tr.Checkpoint(tmp_path / "run")]}
    model = network()
    first = tr.fit(model, X, Y, **options)
    again = network(seed=1)
    assert tr.fit(again, X, Y, **options).epochs == first.epochs and same_weights(model, again)
    longer = tr.fit(network(), X, Y, **options | {"epochs": 4})
    straight = tr.fit(network(), X, Y, epochs=4)
    assert without_times(longer) == without_times(straight)


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_a_fault_while_saving_leaves_the_last_good_file(tmp_path, monkeypatch, moment):
    path = tmp_path / "run"
    tr.fit(network(), X, Y, epochs=1, callbacks=[tr.Checkpoint(path)])
    good = path.read_bytes()

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, moment, full_disk)
    with pytest.raises(OSError, match="No space left"):
        tr.fit(network(), X, Y, epochs=2, callbacks=[tr.Checkpoint(path)])
    assert path.read_bytes() == good and [p.name for p in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "other", "safetensors"])
def test_a_damaged_checkpoint_is_refused_and_nothing_changes(tmp_path, damage):
    from safetensors.numpy import save

    path = tmp_path / "run"
    tr.fit(network(), X, Y, epochs=1, callbacks=[tr.Checkpoint(path)])
    good = path.read_bytes()
    flipped = bytearray(good)
    flipped[-3] ^= 1
    content = {"cut": good[:-100], "empty": b"", "flipped": bytes(flipped), "other": b"hello" * 99}
    content["safetensors"] = save({"a": np.ones(3)})
    path.write_bytes(content[damage])
    model, before = network(), network()
    with pytest.raises(ValueError, match=r"run is no checkpoint.*delete it to begin anew"):
        tr.fit(model, X, Y, epochs=2, callbacks=[tr.Checkpoint(path)])
    assert same_weights(model, before) and path.read_bytes() == content[damage]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": network(8)}, r"another network: 0\.weight is \(4, 1, 3, 3\) there and \(8, 1, 3, 3\) here"),
        (
            {"model": nn.Sequential(*network()[:4], nn.Flatten(), nn.Linear(36, 3))},
            "another network: 6.weight is .* there and missing",
        ),
        ({"batch_size": 9}, "batch_size is 10 there and 9 here"),
        ({"seed": 1}, "seed is 0 there and 1 here"),
        ({"lr": {"": 0.01, "6": 0.1}}, r"lr is 0\.01 there and \{'': 0\.01, '6': 0\.1\} here"),
        ({"optimizer": "sgd"}, "optimizer is adam there and sgd here"),
        ({"schedule": tr.cosine()}, "in its schedule"),
        ({"x": X + 1}, "data is"),
        ({"callbacks": []}, "callbacks"),
    ],
)
def test_a_checkpoint_of_something_else_is_refused(tmp_path, change, said):
    path = tmp_path / "run"
    tr.fit(network(), X, Y, **OPTIONS, callbacks=[tr.EarlyStopping("loss"), tr.Checkpoint(path)])
    good = path.read_bytes()
    arguments = {"model": network(), "x": X, "y": Y, "callbacks": [tr.EarlyStopping("loss")]} | OPTIONS | change
    arguments["callbacks"] = [*arguments["callbacks"], tr.Checkpoint(path)]
    with pytest.raises(ValueError, match=said):
        tr.fit(**arguments)
    assert path.read_bytes() == good


# Mistakes at the door


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"y": Y + 1}, "from 0 to 2, for the network has 3 outputs, not from 1 to 3"),
        ({"y": Y - 1}, "not from -1 to 1"),
        ({"y": Y.astype(float)}, "integer labels, not float64"),
        ({"y": np.eye(3, dtype=int)[Y]}, "it is one-hot: give y.argmax"),
        ({"y": Y[:-1]}, "equally many examples, not 50 and 49"),
        ({"y": None}, "y is missing"),
        ({"x": (X * 255).astype(np.uint8)}, "float32, not uint8. Scale first"),
        ({"x": np.where(X > 2, np.nan, X)}, "x should be finite"),
        ({"x": X[:0], "y": Y[:0]}, "at least one example"),
        ({"x": X.transpose(0, 2, 3, 1)}, r"cannot take x of shape \(2, 6, 6, 1\)"),
        ({"x": iter([(X, Y)]), "y": None}, "read only once"),
        ({"x": 3, "y": None}, "not a int"),
        ({"epochs": 1.5}, "epochs should be a whole number of at least 1, not 1.5"),
        ({"epochs": True}, "epochs should be"),
        ({"batch_size": 0}, "batch_size should be"),
        ({"seed": -1}, "seed should be"),
        ({"lr": float("nan")}, "lr should be a number of at least 0, not nan"),
        ({"lr": "fast"}, "lr should be"),
        ({"lr": {}}, "no rate for"),
        ({"weight_decay": -1}, "weight_decay should be"),
        ({"optimizer": "SGD"}, "Did you mean|There are: sgd"),
        ({"loss": "mse"}, "y should have the shape of the outputs"),
        ({"validation": (X, Y + 1)}, "labels from 0 to 2"),
        ({"validation": (X.astype(int), Y)}, "float32, not int64"),
        ({"augment": lambda x, rng: x * np.inf}, "x should be finite"),
        ({"callbacks": [tr.EarlyStopping("f1", mode="max")]}, "watches 'f1', but there are: epoch, loss"),
        ({"device": "tpu9"}, "no device 'tpu9'"),
        ({"y": 3}, "equally many examples, not 50 and 1"),
        ({"x": X[:, :, :0]}, "at least one example"),
        ({"weight_decay": "much"}, "weight_decay should be a number of at least 0, not 'much'"),
        ({"callbacks": tr.Progress()}, r"callbacks should be a list, as in \[Progress"),
        ({"loss": nn.CrossEntropyLoss(reduction="none")}, r"one number of outputs \(2, 3\) and targets \(2,\)"),
        ({"loss": lambda outputs, targets: outputs.mean() + "a"}, "The loss cannot make one number"),
        ({"model": nn.LSTM(6, 3), "x": X[:, 0]}, "it gives a tuple, not one tensor"),
        ({"model": "resnet"}, "PyTorch networks, not a str; for Keras call fit_keras"),
        ({"model": nn.Flatten()}, "outputs|parameter"),
        ({"model": nn.Sequential(network(), nn.Softmax(1))}, "ends in softmax"),
    ],
)
def test_mistakes_are_refused_before_anything_changes(change, said):
    model, before = network(), network()
    with pytest.raises(ValueError, match=said) as caught:
        tr.fit(**{"model": model, "x": X, "y": Y, "epochs": 1} | change)
    assert "\n" not in str(caught.value)
    if "f1" not in said:
        assert same_weights(model, before)


def test_fewer_examples_than_a_batch_and_a_single_one():
    assert len(tr.fit(network(), X[:5], Y[:5], epochs=1)) == 1
    assert len(tr.fit(network(), X[:1], Y[:1], epochs=1)) == 1


# Keras


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_both_frameworks_write_the_same_history(optimizer):
    options = {"epochs": 3, "batch_size": 16, "lr": {"": 0.01, "0": 0.02, "conv": 0.02}, "optimizer": optimizer}
    options |= {"schedule": tr.one_cycle(), "weight_decay": 0.1, "validation": (X, Y)}
    options |= {"augment": lambda x, rng: x[..., :: rng.choice([-1, 1])]}
    ours = without_dropout()
    theirs = keras_twin(ours)
    np.testing.assert_allclose(tr.predict(theirs, X), tr.predict(ours, X), atol=1e-5)
    rates = options.pop("lr")
    a = tr.fit(ours, X, Y, **options, lr={"": rates[""], "0": rates["0"]})
    b = tr.fit_keras(theirs, X, Y, **options, lr={"": rates[""], "conv": rates["conv"]})
    assert a.keys() == b.keys()
    for key in ("loss", "accuracy", "val_loss", "val_accuracy", "lr"):
        assert b[key] == pytest.approx(a[key], rel=2e-3), key
    np.testing.assert_allclose(tr.predict(theirs, X), tr.predict(ours, X), atol=2e-3)


def test_keras_goes_on_from_a_checkpoint(tmp_path):
    class Cut(tr.Callback):
        def on_epoch_end(self, run):
            if run.epoch == 2 and cut:
                raise KeyboardInterrupt

    options = {"epochs": 4, "lr": 0.01, "schedule": tr.cosine(), "validation": (X, Y)}
    callbacks = lambda: [Cut(), tr.EarlyStopping(patience=9), tr.Checkpoint(tmp_path / "run")]  # noqa: E731
    cut = False
    straight = keras_twin(network())
    expected = tr.fit_keras(straight, X, Y, **options, callbacks=[tr.EarlyStopping(patience=9)])
    cut = True
    with pytest.raises(KeyboardInterrupt):
        tr.fit_keras(keras_twin(network()), X, Y, **options, callbacks=callbacks())
    cut = False
    again = keras_twin(network(seed=2))
    history = tr.fit_keras(again, X, Y, **options, callbacks=callbacks())
    assert without_times(history) == without_times(expected)
    for a, b in zip(straight.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_keras_says_the_same_at_the_door():
    model = keras_twin(network())
    for change, said in [
        ({"y": Y + 1}, "from 0 to 2"),
        ({"x": X.repeat(3, axis=1)}, r"cannot take x of shape \(2, 3, 6, 6\)"),
        ({"callbacks": [tr.GradientNorms()]}, "needs a PyTorch network"),
        ({"lr": {"": 0.1, "convv": 0.1}}, "Did you mean 'conv'"),
        ({"loss": "mse"}, "the shape of the outputs"),
    ]:
        with pytest.raises(ValueError, match=said):
            tr.fit_keras(**{"model": model, "x": X, "y": Y, "epochs": 1} | change)


def test_a_keras_autoencoder():
    import keras

    model = keras.Sequential([keras.Input((6, 6, 1)), keras.layers.Conv2D(1, 3, padding="same")])
    history = tr.fit_keras(model, X, X, epochs=2, loss="mse", validation=(X, X))
    assert history.keys() == ["epoch", "loss", "val_loss", "lr", "seconds"]
    outputs = tr.predict(model, X)
    assert outputs.shape == X.shape and history["val_loss"][-1] == pytest.approx(((outputs - X) ** 2).mean(), rel=1e-4)
    with pytest.raises(tr.TrainingError, match=r"stopped at step \d+, in epoch \d+: the loss is (inf|nan)") as caught:
        tr.fit_keras(model, X, X, epochs=9, lr=1e30, optimizer="sgd", loss="mse")
    assert caught.value.step >= 2


# The benchmark


def test_the_benchmark_runs(tmp_path):
    done = cnncourse("bench", "training", "--quick", "--out", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((tmp_path / "training.json").read_text())
    assert set(result["summary"]) == {"example", "PyTorch", "PyTorch, 1 thread", "Keras"}
    assert "of the example's" in done.stdout


def test_a_training_goes_on_with_other_callbacks_that_remember_nothing(tmp_path):
    "A checkpoint written with a progress bar is read without one."
    x, y = np.random.default_rng(0).random((40, 1, 4, 4), np.float32), np.arange(40) % 2
    model, path = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)), tmp_path / "last.ckpt"
    tr.fit(model, x, y, epochs=1, callbacks=[tr.Progress(), tr.Checkpoint(path)])
    assert len(tr.fit(model, x, y, epochs=2, callbacks=[tr.Checkpoint(path)])) == 2


# Labels in every batch


def later(y, x=X):
    "Two batches, the second with labels of its own."
    return [(x[:20], Y[:20]), (x[20:40], y)]


def dataset_of(x, y):
    return torch.utils.data.TensorDataset(torch.from_numpy(x), torch.as_tensor(y))


WRONG = np.where(np.arange(20) == 7, 5, Y[20:40])
LATER = [
    (WRONG, r"y of batch 2 .* from 0 to 2, for the network has 3 outputs, not from 0 to 5 \(example 7 is 5\)"),
    (WRONG - 6, r"y of batch 2 .* not from -6 to -1 \(example 0 is -\d\)"),
    (np.eye(3, dtype=np.float32)[Y[20:40]], r"y of batch 2 .* one-hot: give y\.argmax"),
    (Y[20:40] / 2, r"y of batch 2 should be integer labels, not float64"),
    (["cat"] * 20, r"y of batch 2 should be integer labels, not text such as 'cat'"),
    ([None] * 20, r"y of batch 2 has no label for example 0"),
    (Y[20:39], r"x and y of batch 2 should hold equally many examples, not 20 and 19"),
    (np.stack([Y[20:40]] * 2, axis=1), r"y of batch 2 should be one label for each example"),
]


@pytest.mark.parametrize(("y", "said"), LATER)
def test_labels_of_a_later_batch_are_refused_before_its_step(y, said):
    steps = []

    class Count(tr.Callback):
        def on_batch_end(self, run):
            steps.append(run.step)

    with pytest.raises(ValueError, match=said):
        tr.fit(network(), later(y), epochs=1, callbacks=[Count()])
    assert steps == [1]
    with pytest.raises(ValueError, match=said):
        tr.evaluate(network(), later(y))
    with pytest.raises(ValueError, match=f"In the validation data|{said}"):
        tr.fit(network(), X, Y, epochs=1, validation=later(y))


@pytest.mark.parametrize("make", [lambda d: d, lambda d: torch.utils.data.DataLoader(d, 16)])
def test_labels_of_a_data_set_are_looked_at_in_every_batch(make):
    y = np.where(np.arange(50) == 49, 3, Y)
    with pytest.raises(ValueError, match=r"y of batch \d .* not from 0 to 3 \(example \d+ is 3\)"):
        tr.fit(network(), make(dataset_of(X, y)), epochs=1, batch_size=16)


@pytest.mark.parametrize(
    "loss",
    [nn.functional.cross_entropy, nn.CrossEntropyLoss(), partial(nn.functional.cross_entropy, label_smoothing=0.1)],
)
def test_a_cross_entropy_of_ones_own_has_its_labels_looked_at_too(loss):
    with pytest.raises(ValueError, match=r"y of batch 2 .* \(example 7 is 5\)"):
        tr.fit(network(), later(WRONG), epochs=1, loss=loss)
    ignored = np.where(np.arange(50) == 7, -100, Y)
    assert len(tr.fit(network(), X, ignored, epochs=1, loss=loss)) == 1
    with pytest.raises(ValueError, match=r"example 7 is -100"):
        tr.fit(network(), X, ignored, epochs=1)


PAIRS = [
    (
        "binary_cross_entropy",
        np.eye(3, dtype=int)[Y],
        r"floats for the loss 'binary_cross_entropy', not int64: give y\.astype",
    ),
    ("binary_cross_entropy", np.eye(3, dtype=bool)[Y], r"floats for the loss 'binary_cross_entropy', not bool"),
    ("mse", np.eye(3, dtype=np.uint8)[Y], "floats for the loss 'mse', not uint8"),
    ("mae", np.eye(3, dtype=int)[Y], "floats for the loss 'mae', not int64"),
    ("binary_cross_entropy", 2 * np.eye(3)[Y], "from 0 to 1 for binary_cross_entropy, not from 0 to 2"),
    (
        "binary_cross_entropy",
        Y,
        r"the shape of the outputs, \(n, 3\), not \(\d+,\). If it holds labels, leave loss= out",
    ),
    ("mse", Y, r"the shape of the outputs, \(n, 3\), not \(\d+,\)"),
    ("mse", ["cat"] * 50, "scaling.encode_labels"),
    ("mse", np.full((50, 3), np.nan), "should be finite"),
    ("cross_entropy", np.eye(3)[Y], r"one-hot: give y\.argmax"),
    ("cross_entropy", Y / 2, "integer labels, not float64. For other targets give loss="),
    (None, Y.astype(np.float32), r"integer labels, not float32. If they are labels, give y\.astype\(int\)"),
    (None, RNG.random((50, 3)), "one label for each example|integer labels, not float64"),
]


@pytest.mark.parametrize(("loss", "y", "said"), PAIRS)
def test_a_loss_and_its_targets(loss, y, said):
    for x in (X, None):
        data = {"x": X, "y": y} if x is not None else {"x": [(X[:25], y[:25]), (X[25:], y[25:])]}
        with pytest.raises(ValueError, match=said) as caught:
            tr.fit(network(), **data, epochs=1, loss=loss)
        assert "\n" not in str(caught.value)


def test_one_output_for_two_classes():
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 1))
    with pytest.raises(ValueError, match=r"loss='binary_cross_entropy' and y\[:, None\]\.astype\('float32'\)"):
        tr.fit(model, X, Y % 2, epochs=1)
    with pytest.raises(ValueError, match=r"not \(50,\). Give y\[:, None\]"):
        tr.fit(model, X, (Y % 2).astype(np.float32), epochs=1, loss="binary_cross_entropy")
    target = (Y % 2)[:, None].astype("float32")
    assert len(tr.fit(model, X, target, epochs=1, loss="binary_cross_entropy")) == 1
    with pytest.raises(ValueError, match=r"Cross-entropy wants outputs \(n, classes\)"):
        tr.fit(nn.Sequential(model, nn.Flatten(0)), X, Y % 2, epochs=1)


def test_targets_in_any_byte_order():
    target = np.eye(3, dtype=">f8")[Y]
    a, b = (tr.fit(network(), x, t, epochs=1, loss="mse") for x, t in ((X, np.eye(3)[Y]), (X.astype(">f4"), target)))
    assert without_times(a) == without_times(b)


# Classes


class Named(torch.utils.data.Dataset):
    def __init__(self, classes, y=Y):
        self.classes, self.y = classes, y

    def __len__(self):
        return len(X)

    def __getitem__(self, i):
        return X[i], self.y[i]


def test_training_and_validation_need_the_same_classes():
    loader = torch.utils.data.DataLoader
    train, other = Named(["cat", "dog", "fox"]), Named(["cat", "fox"], Y % 2)
    subset = torch.utils.data.Subset(train, range(20))
    for x, validation in [(train, other), (loader(train, 16), loader(other, 16)), (subset, other)]:
        with pytest.raises(
            ValueError, match="Label 1 is 'dog' in x and 'fox' in validation: both need the same classes"
        ):
            tr.fit(network(), x, epochs=1, validation=validation)
    assert len(tr.fit(network(), train, epochs=1, validation=subset)) == 1
    with pytest.raises(ValueError, match="x has 4 classes, and the network 3 outputs"):
        tr.fit(network(), Named(["a", "b", "c", "d"]), epochs=1)


# Directions


def test_a_direction_is_known_or_asked_for():
    for name in ("loss", "val_loss", "error", "top5_error", "mse", "val_mae"):
        assert tr.EarlyStopping(name).sign == -1
    for name in ("accuracy", "val_accuracy", "top3_acc", "balanced_accuracy"):
        assert tr.EarlyStopping(name).sign == 1
    for name in ("f1", "auc", "val_recall", "top3", "inaccuracy", "neg_mse", "perplexity", "lr", "loss_weight", "iou"):
        with pytest.raises(ValueError, match=f"Is more of '{name}' better, or less"):
            tr.EarlyStopping(name)
        assert (tr.EarlyStopping(name, mode="max").sign, tr.EarlyStopping(name, mode="min").sign) == (1, -1)
    with pytest.raises(ValueError, match="mode should be 'min' or 'max'"):
        tr.EarlyStopping("loss", mode="up")


def test_a_metric_that_rises_keeps_its_best_epoch():
    values = iter([0.1, 0.3, 0.5, 0.7, 0.9, 0.2, 0.2])
    metric = tr.Metrics(X, Y, f1=lambda outputs, targets: next(values))
    stopping = tr.EarlyStopping("f1", patience=2, mode="max")
    assert len(tr.fit(network(), X, Y, epochs=9, callbacks=[metric, stopping])) == 7 and stopping.best_epoch == 5


# One example alone, and one picture


def test_a_batch_of_one_with_batch_normalisation():
    def vectors(seed=0):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(36, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))

    loader, said = torch.utils.data.DataLoader, r"single example, and batch normalisation cannot learn .*drop_last=True"
    data, model = dataset_of(X[:33], Y[:33]), vectors()
    for x in (loader(data, 32), loader(data, 1), [(X[:32], Y[:32]), (X[32:33], Y[32:33])]):
        with pytest.raises(ValueError, match=said):
            tr.fit(model, x, epochs=1)
    with pytest.raises(ValueError, match=said):
        tr.fit(model, X[:1], Y[:1], epochs=1)
    with pytest.raises(ValueError, match=said):
        tr.fit(model, X, Y, epochs=1, batch_size=1)
    assert same_weights(model, vectors())  # said before anything was learnt
    assert len(tr.fit(model, loader(data, 32, drop_last=True), epochs=1)) == 1
    assert len(tr.fit(model, X[:33], Y[:33], epochs=1, batch_size=32)) == 1
    assert len(tr.fit(network(), loader(data, 32), epochs=1)) == 1  # maps hold more than one number a channel

    class Unsized(torch.utils.data.IterableDataset):
        def __iter__(self):
            return zip(torch.from_numpy(X[:33]), torch.from_numpy(Y[:33]), strict=True)

    with pytest.raises(ValueError, match=f"Batch 2 of epoch 1 has a {said}"):
        tr.fit(vectors(), loader(Unsized(), 32), epochs=1)


def colours(flat: bool) -> nn.Module:
    torch.manual_seed(0)
    maps = [nn.Conv2d(3, 3, 3), nn.ReLU()]
    return nn.Sequential(*maps, nn.Flatten(), nn.Linear(3 * 36, 3)) if flat else nn.Sequential(*maps, nn.MaxPool2d(6))


RGB = RNG.random((10, 3, 8, 8), np.float32)


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize(
    ("x", "said"),
    [
        (RGB[0], r"one picture \(c, h, w\), not a batch: give x\[None\]$"),
        (RGB[0].transpose(1, 2, 0), r"one picture \(h, w, c\), not a batch: give x\[None\]\.transpose\(0, 3, 1, 2\)$"),
        (RGB.transpose(0, 2, 3, 1), r"channels last \(n, h, w, c\): give x\.transpose\(0, 3, 1, 2\)$"),
        (RGB[0, 0], r"one grey picture \(h, w\), not a batch: give x\[None, None\]$"),
    ],
)
def test_one_picture_and_channels_last_are_told(flat, x, said):
    model = colours(flat)
    with pytest.raises(ValueError, match=said):
        tr.predict(model, x)
    with pytest.raises(ValueError, match=said):
        tr.evaluate(model, x, np.zeros(len(x), int))
    with pytest.raises(ValueError, match=said):
        tr.fit(model, x, np.zeros(len(x), int), epochs=1)
    with pytest.raises(ValueError, match=r"x of batch 2 .*" + said if x.ndim > 2 else "x of batch 2"):
        tr.evaluate(
            model, [(RGB, np.zeros(10, int).reshape(-1, *[1] * (0 if flat else 2))), (x, np.zeros(len(x), int))]
        )


def test_grey_pictures_without_their_axis_are_told():
    with pytest.raises(ValueError, match=r"no axis for the channels, as in \(n, c, h, w\): give x\[:, None\]"):
        tr.predict(network(), X[:, 0])
    with pytest.raises(ValueError, match=r"one picture .* give x\[None\]"):
        tr.predict(network(), X[0])
    with pytest.raises(ValueError, match=r"If x is one picture \(c, h, w\), give x\[None\] and y\[None\]"):
        tr.fit(colours(True), RGB[0], 2, epochs=1)


def test_a_later_batch_that_does_not_fit_is_named():
    with pytest.raises(
        ValueError, match=r"cannot take batch 2 of epoch 1 of shape \(20, 6, 6, 1\): it looks like channels last"
    ):
        tr.fit(network(), [(X[:20], Y[:20]), (X[20:40].transpose(0, 2, 3, 1), Y[20:40])], epochs=1)


# What may only be read once, and other ways to bring nothing


class Once:
    def __init__(self):
        self.batches = iter([(X, Y)] * 2)

    def __iter__(self):
        return self.batches


class OnceDataset(torch.utils.data.IterableDataset):
    def __init__(self):
        self.examples = zip(X, Y, strict=True)

    def __iter__(self):
        return self.examples


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (((x, y) for x, y in [(X, Y)]), "read only once"),
        (map(lambda i: (X, Y), range(2)), "read only once"),
        (zip([X], [Y], strict=True), "read only once"),
        (Once(), "read only once"),
        (torch.utils.data.DataLoader(OnceDataset(), 16), "read only once"),
        ([], "gave no batch"),
        ("pictures", "not a str"),
        ({"x": X}, "not a dict"),
        ([X, Y], r"Batch 1 should be a pair \(x, y\), not a ndarray"),
        ([(X, Y, Y)], r"pair \(x, y\), not a tuple of 3"),
        ([(X, Y), {"x": X}], r"pair \(x, y\), not a dict"),
    ],
)
def test_streams_that_cannot_be_trained_on(x, said):
    with pytest.raises(ValueError, match=said):
        tr.fit(network(), x, epochs=2)


# What a checkpoint knows of its training


def swapped(layer: int, new: nn.Module) -> nn.Module:
    model = network()
    model[layer] = new
    return model


class Hidden(nn.Module):
    "A network whose activation stands in its code."

    def __init__(self, slope=0.1):
        super().__init__()
        self.layers, self.slope = network(), slope

    def forward(self, x):
        return nn.functional.leaky_relu(self.layers(x), self.slope)


class Other(Hidden):
    def forward(self, x):
        return nn.functional.elu(self.layers(x), self.slope)


Other.__qualname__ = Hidden.__qualname__  # the same class, edited


def noise(strength):
    return lambda x, rng: x + np.float32(strength) * rng.normal(size=x.shape).astype(np.float32)


class Brighter:
    def __init__(self, by):
        self.by = by

    def __call__(self, x, rng):
        return x + np.float32(self.by)


def smoothed(share):
    def loss(outputs, targets):
        return nn.functional.cross_entropy(outputs, targets, label_smoothing=share)

    return loss


def weighted(*weights):
    return nn.CrossEntropyLoss(weight=torch.tensor(weights))


def sgd(momentum):
    return lambda groups: torch.optim.SGD(groups, momentum=momentum)


def frozen() -> nn.Module:
    model = network()
    model[6].weight.requires_grad_(False)
    return model


def chain(degrees):
    from cnncourse.augmentation import Augmenter, Flip, Rotate

    return Augmenter([Flip(), Rotate(degrees)])


CHANGED = {
    "activation": ("model", network, lambda: swapped(2, nn.Tanh()), "2 is ReLU there and Tanh here"),
    "dropout": ("model", network, lambda: swapped(5, nn.Dropout(0.6)), r"5\.p is 0\.3 there and 0\.6 here"),
    "slope": ("model", Hidden, lambda: Hidden(0.2), r"slope is 0\.1 there and 0\.2 here"),
    "code of the network": ("model", Hidden, Other, "the code of"),
    "frozen": ("model", network, frozen, "learns"),
    "momentum of a norm": (
        "model",
        network,
        lambda: swapped(1, nn.BatchNorm2d(4, momentum=0.5)),
        r"momentum is 0\.1 there and 0\.5",
    ),
    "augment": (
        "augment",
        lambda: noise(0.1),
        lambda: noise(0.2),
        r"augment function\.strength is 0\.1 there and 0\.2 here",
    ),
    "no augment": ("augment", lambda: noise(0.1), lambda: None, "augment function"),
    "augment of a class": ("augment", lambda: Brighter(0.1), lambda: Brighter(0.2), r"by is 0\.1 there and 0\.2 here"),
    "augment partly given": (
        "augment",
        lambda: partial(_shift, by=1),
        lambda: partial(_shift, by=2),
        "by is 1 there and 2 here",
    ),
    "code of augment": (
        "augment",
        lambda: lambda x, rng: x * 2,
        lambda: lambda x, rng: x + 2,
        "the code of augment function",
    ),
    "steps": ("augment", lambda: chain(10), lambda: chain(20), r"is 10 there and 20 here|10\.0 there and 20"),
    "loss": ("loss", lambda: smoothed(0.1), lambda: smoothed(0.2), r"loss function\.share is 0\.1 there and 0\.2 here"),
    "setting of a loss": (
        "loss",
        nn.CrossEntropyLoss,
        lambda: nn.CrossEntropyLoss(label_smoothing=0.1),
        "label_smoothing is",
    ),
    "weights of a loss": ("loss", lambda: weighted(1.0, 1.0, 1.0), lambda: weighted(1.0, 2.0, 1.0), "weight is"),
    "optimizer": ("optimizer", lambda: sgd(0.5), lambda: sgd(0.9), r"momentum is 0\.5 there and 0\.9 here"),
    "validation": ("validation", lambda: (X, Y), lambda: (X[:40], Y[:40]), "validation is"),
    "no validation": ("validation", lambda: (X, Y), lambda: None, "validation is"),
}


def _shift(x, rng, by):
    return x + np.float32(by)


@pytest.mark.parametrize("kind", CHANGED)
def test_a_checkpoint_knows_what_changed(kind, tmp_path):
    name, before, after, said = CHANGED[kind]
    path = tmp_path / "run"
    settings = {"model": network, "x": lambda: X, "y": lambda: Y}

    def train(make, epochs):
        made = {key: value() for key, value in (settings | {name: make}).items()}
        made["x"] = np.abs(X) / 9 if kind == "steps" else X
        return tr.fit(**made, epochs=epochs, callbacks=[tr.Checkpoint(path)])

    train(before, 1)
    good = path.read_bytes()
    assert len(train(before, 2)) == 2  # made once more, it is the same
    path.write_bytes(good)
    with pytest.raises(ValueError, match=f"is a checkpoint of a training that differs.*({said})") as caught:
        train(after, 2)
    assert path.read_bytes() == good and "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_what_counts_is_no_setting(tmp_path):
    "A function that counts its calls, and a network that does, are the same after they were called."
    calls, model = [], nn.Sequential(network(), Explodes())

    class Counts:
        n = 0

        def __init__(self):
            self.seen = 0

        def __call__(self, x, rng):
            self.seen += 1
            calls.append(len(x))
            return x

    augment, path = Counts(), tmp_path / "run"
    tr.fit(model, X, Y, epochs=1, augment=augment, callbacks=[tr.Checkpoint(path)])
    model[1].calls = -9
    assert len(tr.fit(model, X, Y, epochs=2, augment=augment, callbacks=[tr.Checkpoint(path)])) == 2 and len(calls) == 4


def test_two_trainings_may_write_one_path(tmp_path):
    "Each writes to a name of its own, and the last one wins."
    path, stop, errors = tmp_path / "run", time.monotonic() + 1.0, []

    def write(content):
        while time.monotonic() < stop:
            try:
                files.write_whole(path, content)
            except OSError as error:
                errors.append(error)

    contents = [bytes([i]) * 200_000 for i in range(3)]
    writers = [threading.Thread(target=write, args=(content,)) for content in contents]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert errors == [] and path.read_bytes() in contents and [p.name for p in tmp_path.iterdir()] == ["run"]


def test_what_a_killed_writer_left_is_removed_when_it_is_old(tmp_path):
    old, new = tmp_path / ".run.1.ab.part", tmp_path / ".run.2.cd.part"
    for part in (old, new):
        part.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    tr.fit(network(), X, Y, epochs=1, callbacks=[tr.Checkpoint(tmp_path / "run")])
    assert {p.name for p in tmp_path.iterdir()} == {"run", new.name}
