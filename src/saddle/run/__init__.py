"""The life of one run: its folder, what is built, training, checkpoints, logs, signals, and how it ended."""
