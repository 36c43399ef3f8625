"""Steps with non-finite gradients."""

import pytest
import torch
from tiny import attach, batch, dense_gan

from saddle.errors import NonFinite
from saddle.models.guard import Guard
from saddle.optimizers import make_optimizer
from saddle.penalties import LeCam, PathLength


def parameters(*gradients):
    named = {}
    for i, values in enumerate(gradients):
        named[f"generator.{i}"] = torch.nn.Parameter(torch.zeros(2))
        named[f"generator.{i}"].grad = None if values is None else torch.tensor(values)
    return named


def admits(guard, named, iteration=4):
    optimizer = make_optimizer("adam", named.values(), 0.1, 0.5, 0.999, 1e-8)
    return guard.admits(optimizer, named, iteration)


def test_finite_gradients_pass():
    for mode in ("stop", "skip", "scaler"):
        assert admits(Guard(mode), parameters([1.0, -1e8], None, [0.0, 0.0]))
    assert admits(Guard(), parameters(None))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_stop_names_the_first_bad_parameter(value):
    with pytest.raises(NonFinite, match=r"iteration 5: the gradient of generator\.2 ") as caught:
        admits(Guard("stop"), parameters([1.0, 1.0], None, [1.0, value], [value, value]))
    assert (caught.value.iteration, caught.value.name) == (5, "generator.2")


def test_skip_counts():
    guard = Guard("skip")
    for bad in (float("nan"), 1.0, float("inf")):
        assert admits(guard, parameters([1.0, bad])) is (bad == 1.0)
    assert guard.skipped == 2


def test_the_scaler_sees_to_infinities_itself():
    guard = Guard("scaler")
    assert admits(guard, parameters([float("inf"), 1.0])) and guard.skipped == 0


def test_a_gradient_whose_square_overflows_is_bad():
    guard = Guard("skip")
    assert not admits(guard, parameters([1e30, 1.0]))


def snapshot(model):
    return {name: p.detach().clone() for name, p in model.named_parameters() if not name.startswith("ema")}


def poisoned(model, player, parameter):
    """Make one parameter's gradient NaN."""
    network = getattr(model, player)
    dict(network.named_parameters())[parameter].register_hook(lambda grad: grad * float("nan"))
    return model


@pytest.mark.parametrize(
    ("player", "parameter"), [("discriminator", "trunk.linear.bias"), ("generator", "linear.weight")]
)
def test_stop_leaves_the_players_parameters_as_they_were(player, parameter):
    model = poisoned(attach(dense_gan()), player, parameter)
    before = snapshot(model)
    with pytest.raises(NonFinite, match=f"{player}.{parameter}"):
        model.training_step(batch(model), 0)
    for name, value in snapshot(model).items():
        if name.startswith(player):
            assert torch.equal(value, before[name])
    assert model.iteration == 0


def test_skip_leaves_out_one_player_and_goes_on():
    model = poisoned(attach(dense_gan(nonfinite="skip")), "generator", "linear.weight")
    before = snapshot(model)
    for _ in range(2):
        model.training_step(batch(model), 0)
    after = snapshot(model)
    assert model.guard.skipped == 2 and model.iteration == 2
    assert torch.equal(after["generator.linear.weight"], before["generator.linear.weight"])
    assert not torch.equal(after["discriminator.trunk.linear.bias"], before["discriminator.trunk.linear.bias"])


def test_a_run_recovers_from_a_skipped_step():
    model = attach(dense_gan({"lecam": LeCam(start=0), "path_length": PathLength(every=1)}, nonfinite="skip"))
    model.training_step(batch(model), 0)
    hooks = [
        model.discriminator.head.linear.register_forward_hook(lambda m, i, out: out * float("nan")),
        model.generator.register_forward_hook(lambda m, i, out: out * float("inf")),
    ]
    model.training_step(batch(model), 1)
    assert model.guard.skipped == 2
    for hook in hooks:
        hook.remove()
    model.training_step(batch(model), 2)
    assert model.guard.skipped == 2


def test_adam_honours_the_flag_that_the_guard_sets_on_a_gpu():
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = make_optimizer("adam", [parameter], 0.1, 0.5, 0.999, 1e-8)
    parameter.grad = torch.tensor([1.0, float("nan")])
    for bad, moved in ((1.0, False), (0.0, True)):
        optimizer.found_inf = torch.tensor(bad)
        parameter.grad = parameter.grad if bad else torch.ones(2)
        optimizer.step()
        assert torch.equal(parameter.detach(), torch.ones(2)) is not moved
    assert parameter.isfinite().all()
