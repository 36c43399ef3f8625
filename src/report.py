"""Report on a sweep: python src/report.py sweep=DIR"""

from omegaconf import DictConfig

from saddle.entry import main


def report(cfg: DictConfig) -> None:
    """Build and call; the logic is in saddle.report."""
    from saddle.report.build import build_report

    build_report(cfg)


if __name__ == "__main__":
    main(report, "report")
