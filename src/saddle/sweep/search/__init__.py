"""A search: optuna proposes the cells of a sweep, and is told how each did. Free of torch.

A cell has one value for every axis. It is run once per seed; optuna knows nothing of seeds, it is told the mean over
them. What it proposes depends on what it was told so far and on nothing else, so a search that was stopped goes on as
if it had not been. What a sweep folder holds of it: `search.json` (what is searched), `optuna.journal` (optuna's own
record), `jobs.json` (the jobs so far), `trials.csv` (a line per cell) and the run folders.

Each trial of optuna ends in one of three states:

- complete: the mean of each score over the seeds. A seed that failed or diverged counts as the number that the
  objective has under `failed`;
- fail: a seed failed or diverged and the objective has no such number, or the check of the config refused the cell;
- pruned: the pruner found the first seed's score hopeless while it ran. Its process tree is ended.
"""
