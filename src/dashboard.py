"""Build the dashboard on Weights & Biases: python src/dashboard.py [sweep=DIR]"""

from omegaconf import DictConfig

from saddle.entry import main


def dashboard(cfg: DictConfig) -> None:
    """Build and call; the logic is in saddle.report.dashboard."""
    from saddle.report.dashboard import build_dashboard

    build_dashboard(cfg)


if __name__ == "__main__":
    main(dashboard, "dashboard")
