"""Write samples of a run: python src/sample.py run=DIR n=10000 out=FILE.npz"""

from omegaconf import DictConfig

from saddle.entry import main


def sample(cfg: DictConfig) -> None:
    """Build and call; the logic is in saddle.sampling."""
    from saddle.sampling import sample_run

    sample_run(cfg)


if __name__ == "__main__":
    main(sample, "sample")
