"""Train a GAN: python src/train.py [model=dcgan] [loss=hinge] [data=fashion_mnist] ... ; options are in conf/."""

from omegaconf import DictConfig

from saddle.entry import main_training
from saddle.run.folder import RunFolder


def train(cfg: DictConfig, folder: RunFolder) -> str:
    """Build and call; the config has been checked. Imports torch only now, so that wrong input is refused at once."""
    from saddle.run.training import train as run

    return run(cfg, folder)


if __name__ == "__main__":
    main_training(train)
