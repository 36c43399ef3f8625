"""From a configuration to the objects of a run: data, model, trainer."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from hydra.errors import InstantiationException
from lightning.pytorch import Callback, Trainer, seed_everything
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from torchmetrics import Metric

from saddle.config.check import length
from saddle.config.compose import first_line
from saddle.config.instantiate import instantiate, locate
from saddle.data.base import DataModule
from saddle.discriminator import Discriminator, MinibatchFeatures
from saddle.errors import InputError
from saddle.models.base import GAN, Facts
from saddle.models.ema import EMA
from saddle.models.optimisers import Optimisers
from saddle.prior import Prior
from saddle.run.checkpoint import find_weights, load_checkpoint, refuse_other_model
from saddle.run.folder import RunFolder


def resolve_precision(precision: str | int) -> str:
    """The precision that `auto` means here: bf16-mixed where the hardware multiplies bfloat16 fast, else 32."""
    if str(precision) != "auto":
        return str(precision)
    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.get_device_capability() >= (8, 0) else "32"
    fast = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return "bf16-mixed" if fast else "32"


def build_data(cfg: DictConfig) -> DataModule:
    """The data module, not yet set up."""
    return instantiate(cfg.data)


def build_model(cfg: DictConfig) -> GAN:
    """The model, its weights drawn from `seed`."""
    seed_everything(cfg.seed, verbose=False)
    options, data = cfg.model, cfg.data
    cls: type[GAN] = locate(options._target_)
    rules = {field.name: options[field.name] for field in fields(cls.rules_type) if field.name in options}
    generator = instantiate(options.generator)
    model = cls(
        generator,
        build_discriminator(cfg),
        instantiate(cfg.loss),
        {str(name): instantiate(penalty) for name, penalty in cfg.penalty.items()},
        instantiate(cfg.augment),
        prior=Prior(options.latent_dim, options.latent, data.classes, options.fake_labels),
        optimisers=Optimisers(options.optimizer, options.g_lr, options.d_lr, options.beta1, options.beta2, options.eps),
        ema=EMA(generator, options.ema, options.ema_start, options.ema_kimg or None, options.ema_warmup),
        rules=cls.rules_type(**rules),
        facts=Facts(
            batch_size=data.batch_size,
            accumulate=cfg.trainer.accumulate,
            flip=data.flip,
            precision=resolve_precision(cfg.precision),
            nonfinite=cfg.nonfinite,
            seed=cfg.seed,
        ),
        schedules=options.schedules,
    )
    model.to(memory_format=torch.channels_last)
    if cfg.compile:  # in place; where a penalty differentiates twice, the turn calls the plain ones
        model.generator.compile()
        model.discriminator.compile()
    return model


def build_discriminator(cfg: DictConfig) -> Discriminator:
    """Trunk, minibatch features and head of the configuration; each is made for what the one before it gives."""
    node = cfg.model
    trunk = instantiate(node.trunk, channels=node.trunk.channels * node.packing)
    minibatch = MinibatchFeatures(trunk.features, node.minibatch) if node.minibatch else None
    head = instantiate(node.head)(features=trunk.features + node.minibatch)
    return Discriminator(trunk, head, node.packing, minibatch)


def build_callbacks(cfg: DictConfig, folder: Path) -> list[Callback]:
    """The callbacks of the configuration, in its order."""
    iterations, minutes = length(cfg)
    metrics = build_metrics(cfg.metrics)
    known = {"folder": str(folder), "iterations": iterations, "minutes": minutes, "metrics": metrics}
    callbacks = []
    for node in cfg.callbacks.values():
        takes = inspect.signature(locate(node._target_)).parameters
        callbacks.append(instantiate(node)(**{k: v for k, v in known.items() if k in takes}))
    return callbacks


def build_metrics(nodes: Mapping[Any, Any]) -> dict[str, Metric]:
    """The metrics of a configuration by name.

    Raises:
        InputError: naming a metric whose weights cannot be downloaded, and the remedy; or what its constructor refuses.
    """
    metrics = {}
    for name, node in nodes.items():
        try:
            metrics[str(name)] = instantiate(node)
        except InstantiationException as error:
            if not isinstance(error.__cause__, OSError):  # urllib's and requests' errors are of this kind
                raise
            reason = " ".join(str(error.__cause__).split())[:200]
            raise InputError(
                f"metrics={name}: {node['_target_']} cannot have its files ({reason}): fill its cache (torch hub's is "
                f"{torch.hub.get_dir()}) where there is a network, or leave {name} out of metrics="
            ) from error
    return metrics


def build_trainer(cfg: DictConfig, folder: Path, callbacks: list[Callback], loggers: list, plugins: list) -> Trainer:
    """Lightning's trainer: device, processes, precision and loop; the run's life is in the callbacks."""
    strategy = cfg.trainer.strategy
    if cfg.trainer.accelerator == "cpu":  # processes of one machine share its cores
        local = int(cfg.trainer.devices)
        torch.set_num_threads(max(1, int(os.environ.get("OMP_NUM_THREADS", len(os.sched_getaffinity(0)))) // local))
    return Trainer(
        accelerator=cfg.trainer.accelerator,
        devices=cfg.trainer.devices,
        num_nodes=cfg.trainer.num_nodes,
        strategy=strategy if isinstance(strategy, str) else instantiate(strategy),
        precision=resolve_precision(cfg.precision),  # type: ignore[arg-type]
        max_epochs=-1,
        logger=loggers,
        callbacks=callbacks,
        plugins=plugins,
        default_root_dir=folder,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        benchmark=True,
    )


def load_run(folder: str | Path, weights: str | int | None = None) -> tuple[DictConfig, GAN]:
    """The config and the trained model of a run folder, in eval mode, on the GPU where there is one.

    Its weights are those of the "last" or the "best" checkpoint, or of one that was kept at an iteration; None: last.

    Raises:
        InputError: if the folder holds no run, or not this checkpoint, or it is damaged, or there is no such model.
    """
    run = RunFolder(folder)
    cfg = run.config()
    path = find_weights(run.checkpoints, "last" if weights is None else weights)
    checkpoint = load_checkpoint(path)
    try:
        model = build_model(cfg)
    except InputError:
        raise
    except (OmegaConfBaseException, InstantiationException, TypeError, ValueError) as error:
        remedy = "it was edited, or another version of the code has written it"
        raise InputError(f"{run.config_file}: {first_line(error.__cause__ or error)}; {remedy}") from error
    refuse_other_model(checkpoint, model, path)
    model.on_load_checkpoint(checkpoint)
    model.load_state_dict(checkpoint["state_dict"])
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    return cfg, model.eval()
