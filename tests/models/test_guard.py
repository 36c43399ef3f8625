"""Steps with non-finite gradients."""

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.plugins import MixedPrecision
from tiny import StopAfter, attach, batch, compose_config, dense_gan
from torch import nn

from saddle.errors import NonFinite
from saddle.losses import NonSaturating
from saddle.models.guard import Guard
from saddle.models.optimisers import OPTIMISERS
from saddle.networks.norm import BatchNorm
from saddle.penalties import LeCam, PathLength, Penalty
from saddle.run.build import build_data, build_model


def parameters(*gradients):
    named = {}
    for i, values in enumerate(gradients):
        named[f"generator.{i}"] = torch.nn.Parameter(torch.zeros(2))
        named[f"generator.{i}"].grad = None if values is None else torch.tensor(values)
    return named


def admits(guard, named, iteration=4):
    optimizer = OPTIMISERS["adam"](list(named.values()), 0.1, 0.5, 0.999, 1e-8)
    return guard.admits(optimizer, named, iteration)


def test_finite_gradients_pass():
    for guard in (Guard("stop"), Guard("skip"), Guard(scaled=True)):
        assert admits(guard, parameters([1.0, -1e8], None, [0.0, 0.0]))
    assert admits(Guard(), parameters(None))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_stop_names_the_first_bad_parameter(value):
    with pytest.raises(NonFinite, match=r"iteration 5: the gradient of generator\.2 ") as caught:
        admits(Guard("stop"), parameters([1.0, 1.0], None, [1.0, value], [value, value]))
    assert (caught.value.iteration, caught.value.name) == (5, "the gradient of generator.2")


def test_skip_counts():
    guard = Guard("skip")
    for bad in (float("nan"), 1.0, float("inf")):
        assert admits(guard, parameters([1.0, bad])) is (bad == 1.0)
    assert guard.skipped == 2


def test_the_scaler_sees_to_infinities_itself():
    guard = Guard(scaled=True)
    assert admits(guard, parameters([float("inf"), 1.0])) and guard.skipped == 0
    with pytest.raises(NonFinite, match="train/d_loss"):  # which a smaller scale does not mend
        guard.admits(torch.optim.SGD([torch.zeros(1)]), {}, 0, terms={"train/d_loss": torch.tensor(float("inf"))})


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
    optimizer = OPTIMISERS["adam"]([parameter], 0.1, 0.5, 0.999, 1e-8)
    parameter.grad = torch.tensor([1.0, float("nan")])
    for bad, moved in ((1.0, False), (0.0, True)):
        optimizer.found_inf = torch.tensor(bad)
        parameter.grad = parameter.grad if bad else torch.ones(2)
        optimizer.step()
        assert torch.equal(parameter.detach(), torch.ones(2)) is not moved
    assert parameter.isfinite().all()


def test_the_term_that_is_bad_is_named():
    class Bad(Penalty):
        player = "discriminator"

        def forward(self, turn):
            return turn.real_logits.sum() * float("nan")

    model = attach(dense_gan({"bad": Bad(1.0)}))
    with pytest.raises(NonFinite, match=r"iteration 1: train/penalty/bad is not finite; the last checkpoint"):
        model.training_step(batch(model), 0)


def test_an_infinite_loss_with_finite_gradients_stops():
    class Offset(NonSaturating):
        def generator(self, fake, real=None):
            return super().generator(fake) + float("inf")

    model = attach(dense_gan(loss=Offset()))
    with pytest.raises(NonFinite, match="train/g_loss"):
        model.training_step(batch(model), 0)


@pytest.mark.parametrize("mode", ["stop", "skip"])
def test_a_parameter_that_a_finite_gradient_overflows_is_named(mode):
    model = attach(dense_gan(nonfinite=mode, d_lr=float("inf")))
    with pytest.raises(NonFinite, match=r"iteration 1: discriminator\.trunk\.linear\.weight is not finite"):
        model.training_step(batch(model), 0)


def test_a_step_left_out_leaves_no_trace():
    model = attach(dense_gan({"lecam": LeCam(start=0)}, nonfinite="skip", independent=False))
    for owner, size in ((model.discriminator.trunk, 6), (model.generator, 16), (model.ema.module, 16)):
        owner.linear = nn.Sequential(owner.linear, BatchNorm(size).double().train(owner is not model.ema.module))
    model = attach(model)
    model.training_step(batch(model), 0)
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers() if not name.startswith("ema.")}
    means = model.tracked()
    hook = model.generator.linear[0].register_forward_hook(lambda m, i, out: out * float("nan"))
    model.training_step(batch(model), 1)
    hook.remove()
    assert model.guard.skipped == 2 and model.tracked() == {}
    for name, buffer in buffers.items():
        assert torch.equal(dict(model.named_buffers())[name], buffer), name
    model.training_step(batch(model), 2)
    again = model.tracked()
    assert {*again} == {*means} and all(value == value for value in again.values())
    assert (means["train/skipped_steps"], again["train/skipped_steps"]) == (0.0, 2.0)
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())


def test_skipped_steps_are_in_the_checkpoint():
    model, other, checkpoint = dense_gan(nonfinite="skip"), dense_gan(nonfinite="skip"), {}
    model.guard.skipped = 3
    model.on_save_checkpoint(checkpoint)
    other.on_load_checkpoint(checkpoint)
    assert other.skipped == 3


def test_what_a_gpu_tells_late_is_told_before_a_checkpoint():
    model = dense_gan()
    model.guard._later(torch.tensor([False, True]), 6, ["a", "b"])
    with pytest.raises(NonFinite, match="iteration 7: b is not finite"):
        model.on_save_checkpoint({})


def test_the_scaler_of_16_mixed_mends_infinite_gradients_by_a_smaller_scale(tmp_path):
    """Real half precision and torch's own scaler, on the CPU: Lightning has them on a GPU only."""
    cfg = compose_config(
        *["model=dcgan", "data.resolution=8", "model.width=4", "data.batch_size=4", "model.latent_dim=6"],
        *["precision=16-mixed"],
    )
    model = build_model(cfg)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40, growth_interval=1000)
    plugin = MixedPrecision("16-mixed", "cpu", scaler=scaler)
    trainer = Trainer(
        accelerator="cpu", max_epochs=-1, logger=False, callbacks=[StopAfter(30)], plugins=[plugin],
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    before = snapshot(model)
    trainer.fit(model, datamodule=build_data(cfg))
    assert 1 < scaler.get_scale() < 2.0**40  # it met infinities, and found a scale without
    after = snapshot(model)
    assert all(value.isfinite().all() for value in after.values())
    assert not torch.equal(after["generator.layers.0.weight"], before["generator.layers.0.weight"])
