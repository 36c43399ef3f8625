"""From a configuration to the objects of a run: data, model, trainer."""

from __future__ import annotations

import inspect
import os
import pickle
from collections.abc import Collection, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from hydra.errors import InstantiationException
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import Strategy
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig
from torch import nn
from torchmetrics import Metric

from saddle.augment import Augment, NoAugment
from saddle.config.check import length
from saddle.config.instantiate import instantiate, locate
from saddle.data.base import DataModule
from saddle.discriminator import Discriminator, MinibatchFeatures
from saddle.errors import InputError
from saddle.heads import Head
from saddle.losses import Loss
from saddle.models.base import GAN, Facts
from saddle.models.ema import EMA
from saddle.models.optimisers import Optimisers
from saddle.penalties import Penalty
from saddle.prior import Prior
from saddle.run.checkpoint import BEST, find_resumable, load_checkpoint, refuse_other_model
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
    return instantiate(cfg.data, DataModule)


def build_model(cfg: DictConfig, to_train: bool = True) -> GAN:
    """The model, its weights drawn from `seed`; unless it is `to_train`, without what only its steps read."""
    seed_everything(cfg.seed, verbose=False)
    options, data = cfg.model, cfg.data
    cls: type[GAN] = locate(options._target_, GAN)
    rules = {field.name: options[field.name] for field in fields(cls.rules_type) if field.name in options}
    generator = instantiate(options.generator, nn.Module)
    model = cls(
        generator,
        build_discriminator(cfg),
        instantiate(cfg.loss, Loss),
        {str(name): instantiate(penalty, Penalty) for name, penalty in cfg.penalty.items()} if to_train else {},
        instantiate(cfg.augment, Augment) if to_train else NoAugment(),
        prior=Prior(options.latent_dim, options.latent, data.classes, options.fake_labels),
        optimisers=Optimisers(
            options.optimizer,
            options.g_lr,
            options.d_lr,
            options.beta1,
            options.beta2,
            options.eps,
            options.get("gradient_clip_val"),
        ),
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
        schedules=options.schedules if to_train else None,
    )
    model.to(memory_format=torch.channels_last)
    if cfg.compile:  # in place; where a penalty differentiates twice, the turn calls the plain ones
        model.generator.compile()
        model.discriminator.compile()
    return model


def build_discriminator(cfg: DictConfig) -> Discriminator:
    """Trunk, minibatch features and head of the configuration; each is made for what the one before it gives."""
    node = cfg.model
    trunk = instantiate(node.trunk, nn.Module, channels=node.trunk.channels * node.packing)
    minibatch = MinibatchFeatures(trunk.features, node.minibatch) if node.minibatch else None
    head = instantiate(node.head, Head)(features=trunk.features + node.minibatch)
    return Discriminator(trunk, head, node.packing, minibatch)


def build_callbacks(cfg: DictConfig, folder: Path) -> list[Callback]:
    """The callbacks of the configuration, in its order."""
    iterations, minutes = length(cfg)
    metrics = build_metrics(cfg.metrics)
    known = {"folder": str(folder), "iterations": iterations, "minutes": minutes, "metrics": metrics}
    return [completed(f"callbacks.{name}", node, Callback, known) for name, node in cfg.callbacks.items()]


def build_loggers(cfg: DictConfig, folder: Path) -> list[Logger]:
    """The loggers of the configuration, in its order."""
    known = {"folder": str(folder), "save_dir": str(folder)}  # Lightning's own call it save_dir
    return [completed(f"logger.{name}", node, Logger, known) for name, node in cfg.logger.items()]


def completed(key: str, node: Any, of: type, known: Mapping[str, Any]) -> Any:
    """The object `of` that `node`, named `key`, describes, with what its class takes of `known` beside what it says.

    Raises:
        InputError: if the node says what the class does not take, or a package is missing.
    """
    takes = inspect.signature(locate(node["_target_"], of)).parameters
    given = {name: value for name, value in known.items() if name in takes and name not in node}
    try:
        return instantiate(node, of, _partial_=True)(**given)
    except (TypeError, ValueError, ImportError, MisconfigurationException) as error:
        raise InputError(f"{key}: {' '.join(str(error).split())}") from error


def build_metrics(nodes: Mapping[Any, Any]) -> dict[str, Metric]:
    """The metrics of a configuration by name.

    Raises:
        InputError: naming a metric whose weights cannot be downloaded, and the remedy, or hold more than weights; or
            what its constructor refuses.
    """
    metrics = {}
    for name, node in nodes.items():
        try:
            metrics[str(name)] = instantiate(node, Metric)
        except InstantiationException as error:
            if isinstance(error.__cause__, pickle.UnpicklingError):
                raise InputError(
                    f"metrics={name}: {node['_target_']} was given a file of more than weights, which could run code"
                ) from error
            if not isinstance(error.__cause__, OSError):  # urllib's and requests' errors are of this kind
                raise
            reason = " ".join(str(error.__cause__).split())[:200]
            raise InputError(
                f"metrics={name}: {node['_target_']} cannot have its files ({reason}): fill its cache (torch hub's is "
                f"{torch.hub.get_dir()}) where there is a network, or leave {name} out of metrics="
            ) from error
    return metrics


def build_trainer(cfg: DictConfig, folder: Path, callbacks: list[Callback], loggers: list, plugins: list) -> Trainer:
    """Lightning's trainer: device, processes, precision and loop; the run's life is in the callbacks.

    Raises:
        InputError: if this machine has not what the configuration asks for, such as a GPU.
    """
    node = cfg.trainer
    if node.accelerator == "cpu":  # processes of one machine share its cores
        local = int(node.devices)
        torch.set_num_threads(max(1, int(os.environ.get("OMP_NUM_THREADS", len(os.sched_getaffinity(0)))) // local))
    try:
        trainer = Trainer(
            accelerator=node.accelerator,
            devices=node.devices,
            num_nodes=node.num_nodes,
            strategy=node.strategy if isinstance(node.strategy, str) else instantiate(node.strategy, Strategy),
            precision=resolve_precision(cfg.precision),  # type: ignore[arg-type]
            deterministic=node.deterministic,
            benchmark=not node.deterministic,
            detect_anomaly=node.detect_anomaly,
            profiler=node.profiler,
            max_epochs=-1,
            check_val_every_n_epoch=None,  # scores are the validation of EarlyStopping: no epoch, which never ends, but
            val_check_interval=1,  # a number of iterations, that of evaluation.every
            log_every_n_steps=cfg.log_every,
            logger=loggers,
            callbacks=callbacks,
            plugins=plugins,
            default_root_dir=folder,
            enable_checkpointing=any(isinstance(each, Checkpoint) for each in callbacks),  # one of the user's
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
        )
    except MisconfigurationException as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"trainer.accelerator={node.accelerator}, trainer.devices={node.devices}: {reason} Choose what is here, as "
            "trainer=auto does"
        ) from error
    if node.profiler:
        trainer.profiler.dirpath, trainer.profiler.filename = folder, "profile"  # type: ignore[attr-defined]
    return trainer


def load_run(folder: str | Path, weights: str = "last", trust: Collection[str] = ()) -> tuple[DictConfig, GAN]:
    """The config and the trained model of a run folder, in eval mode, on the GPU where there is one.

    Its weights are those of the "last" or the "best" checkpoint. Anybody may have made the folder: see
    `RunFolder.config_to_build`.

    Raises:
        InputError: if the folder holds no run, or not this checkpoint, or it is damaged; if the config names what is
            neither of this code nor of a package to `trust`.
    """
    run = RunFolder(folder)
    cfg = run.config_to_build(trust)
    path = find_resumable(run.checkpoints) if weights == "last" else run.checkpoints / BEST
    if path is None or not path.exists():
        raise InputError(f"{run.path} has no {weights} checkpoint" + (": choose weights=last" * (weights == "best")))
    model = build_model(cfg, to_train=False)
    checkpoint = load_checkpoint(path)
    of_steps = ("penalties.", "augment.")
    kept = {name: x for name, x in checkpoint["state_dict"].items() if not str(name).startswith(of_steps)}
    checkpoint["state_dict"] = kept
    refuse_other_model(checkpoint, model, path)
    model.on_load_checkpoint(checkpoint)
    model.load_state_dict(checkpoint["state_dict"])
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    return cfg, model.eval()
