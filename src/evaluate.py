"""Score a run, or two sets of images: python src/evaluate.py run=DIR"""

from omegaconf import DictConfig

from saddle.entry import main


def score(cfg: DictConfig) -> None:
    """Build and call; the logic is in saddle.metrics.evaluate."""
    from saddle.metrics.evaluate import evaluate

    evaluate(cfg)


if __name__ == "__main__":
    main(score, "evaluate")
