"""Pictures of two-dimensional data during training: generated points over real ones, and what D makes of the plane."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from saddle.callbacks import record_image
from saddle.callbacks.pictures import Pictures
from saddle.data.files import made_whole

Window = tuple[float, float, float, float]  # left, right, bottom, top

_COMPANIONS = 16  # packs of real points among which a D that judges packs sees each place


class PointCloud(Pictures):
    """Draws ``samples``: the points of the same latents every time, over real points and the logits of D.

    Args:
        every, folder: of `Pictures`.
        points: generated points shown, and at most as many real ones.
    """

    def __init__(self, every: int, folder: str, points: int = 2000):
        super().__init__(every, folder)
        self.points = points

    def draw(self, trainer: Any, model: Any) -> None:
        real = real_points(trainer.datamodule.train_set, self.points)
        fake = generated_points(model, self.points)
        path = self.folder / "samples" / f"{model.iteration:08d}.png"
        logits = logits_on(model, real, window_of(real))
        save_points(path, real, fake, logits, f"iteration {model.iteration}")
        record_image(trainer, "samples", path, model.iteration)


def real_points(images: Any, n: int) -> Tensor:
    """Up to n points of an `ImageSet`, evenly spread over it: float [n, 2]."""
    chosen = torch.linspace(0, len(images) - 1, min(n, len(images))).long()
    return images.__getitems__(chosen)[0].flatten(1)


def generated_points(model: Any, n: int, seed: int | None = None) -> Tensor:
    """The first n points of the moving average of G: [n, 2] on the CPU. Without a seed, that of the run."""
    images, _ = model.sample(0, n, seed=model.seed if seed is None else seed)
    return images.flatten(1).float().cpu()


def window_of(real: Tensor, margin: float = 0.25) -> Window:
    """The square around the real points [N, 2], with a margin on each side as a share of its half."""
    low, high = real.amin(0), real.amax(0)
    (x, y), half = ((low + high) / 2).tolist(), float((high - low).max()) / 2 * (1 + margin)
    return x - half, x + half, y - half, y + half


@torch.no_grad()
def logits_on(model: Any, real: Tensor, window: Window, side: int = 100) -> Tensor | None:
    """D's logits on a lattice over the window: float [side, side], rows from bottom to top.

    A D that judges packs sees each place among real points, and the logit is the mean over several such packs. A D that
    reads labels shows the largest of its logits over the classes. Minibatch discrimination compares a point with a
    batch, so a place alone has no logit: None.

    Args:
        model: has `discriminator`, `device`, `dtype`, `classes`, `conditional` and `forward_context`.
        real: [N, 2].
        window: the lattice's corners.
        side: places along each axis.
    """
    discriminator = model.discriminator
    if discriminator.minibatch is not None:
        return None
    xs, ys = torch.linspace(window[0], window[1], side), torch.linspace(window[2], window[3], side)
    places = torch.stack(torch.meshgrid(xs, ys, indexing="xy"), 2).reshape(-1, 1, 2)
    mates = discriminator.packing - 1
    packs = [real[i * mates : (i + 1) * mates] for i in range(_COMPANIONS)] if mates else [real[:0]]
    training = discriminator.training
    discriminator.eval()
    with model.forward_context():
        among = [_best(model, torch.cat([places, pack.expand(len(places), -1, -1)], 1)) for pack in packs]
    discriminator.train(training)
    return torch.stack(among).mean(0).view(side, side).cpu()


def _best(model: Any, packs: Tensor) -> Tensor:
    """The largest logit of each pack [n, packing, 2] over the classes, [n]."""
    images = packs.flatten(0, 1)[:, :, None, None].to(model.device, model.dtype)
    labels = range(model.prior.classes) if model.conditional else [0]
    each = [model.discriminator(images, torch.full((len(images),), y, device=model.device)).logits for y in labels]
    return torch.stack(each).amax(0).float()


def draw_points(axes: Axes, real: Tensor, fake: Tensor, logits: Tensor | None, dots: float = 4.0) -> Any:
    """Draw generated points [N, 2] over real ones and the logits [side, side] of `window_of(real)`.

    Args:
        axes: to draw on.
        real, fake: the points; those outside the window are cut off.
        logits: of D on a lattice over the window, or None; the colours leave the most extreme 2 per cent away.
        dots: size of a point's marker, in square typographic points.

    Returns:
        The filled contours, for a colour bar; None without logits.
    """
    window, filled = window_of(real), None
    if logits is not None:
        low, high = torch.quantile(logits.flatten(), torch.tensor([0.02, 0.98])).tolist()
        levels = MaxNLocator(14).tick_values(low, max(high, low + 1e-6))
        filled = axes.contourf(logits.numpy(), levels, extent=window, extend="both", cmap="Blues", alpha=0.75)
        axes.contour(logits.numpy(), levels, extent=window, colors="white", linewidths=0.4, linestyles="solid")
    for points, colour, opacity, label in ((real, "black", 1.0, "real"), (fake, "#e8590c", 0.6, "generated")):
        x, y = points.T.numpy()
        axes.scatter(x, y, s=dots, c=colour, linewidths=0, alpha=opacity, label=label, zorder=2)
    axes.set(xlim=window[:2], ylim=window[2:], aspect="equal")
    return filled


def save_points(path: Path, real: Tensor, fake: Tensor, logits: Tensor | None, title: str) -> None:
    """Write one picture as PNG, all at once or not at all."""
    figure = Figure(figsize=(6.4, 5.4), layout="constrained")
    axes = figure.subplots()
    filled = draw_points(axes, real, fake, logits)
    left, right, bottom, top = window_of(real)
    x, y = fake.T
    outside = float(((x < left) | (x > right) | (y < bottom) | (y > top)).float().mean())
    axes.set_title(title + (f", {outside:.1%} of the points outside" if outside else ""), fontsize=11)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, markerscale=3, frameon=False)
    if filled is not None:
        figure.colorbar(filled, ax=axes, label="logit of D", shrink=0.9)
    with made_whole(path) as temporary:
        figure.savefig(temporary, dpi=120)
