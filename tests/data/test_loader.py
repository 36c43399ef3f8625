"""The endless loader: what it shows does not depend on processes, workers, accumulation or interruptions."""

import multiprocessing
from itertools import islice
from types import SimpleNamespace

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from saddle.data.images import FileImages
from saddle.data.loader import Iterations, Loader
from saddle.data.noise import Noise
from saddle.data.sets import MemorySet, StreamedSet
from saddle.distributed import Share
from saddle.errors import InputError
from saddle.randomness import generator

SEED = 7


def taken(images: int, iterations: int, share: Share, d_steps: int = 1, start: int = 0) -> list[list[int]]:
    return list(islice(Iterations(images, SEED, share, d_steps, start), iterations))


def global_stream(images: int, iterations: int, batch: int, processes: int, accumulate: int, d_steps: int) -> list[int]:
    """All shown images in order, put together from what each process gets: by D step, micro-batch, process, row."""
    parts = [taken(images, iterations, Share(batch, processes, rank, accumulate), d_steps) for rank in range(processes)]
    shown: list[int] = []
    for iteration in zip(*parts, strict=True):
        blocks = [torch.tensor(indices).reshape(d_steps, accumulate, -1) for indices in iteration]
        shown += torch.stack(blocks, 2).flatten().tolist()
    return shown


def test_stream_is_one_permutation_after_the_other():
    expected = torch.cat([torch.randperm(10, generator=generator(SEED, "order", epoch)) for epoch in range(4)])
    assert sum(taken(10, 5, Share(8)), []) == expected.tolist()


shapes = dict(images=st.integers(1, 50), d_steps=st.integers(1, 3), iterations=st.integers(1, 6), k=st.integers(1, 3))


@settings(max_examples=60, deadline=None)
@given(**shapes)
def test_every_epoch_shows_every_image_once(images, d_steps, iterations, k):
    shown = sum(taken(images, iterations, Share(4 * k), d_steps), [])
    for start in range(0, len(shown), images):
        epoch = shown[start : start + images]
        assert len(set(epoch)) == len(epoch)
        assert len(epoch) == images or start + images > len(shown)


@settings(max_examples=60, deadline=None)
@given(**shapes, processes=st.integers(1, 3), accumulate=st.integers(1, 3))
def test_processes_and_accumulation_share_one_stream(images, d_steps, iterations, k, processes, accumulate):
    batch = 36 * k
    one = sum(taken(images, iterations, Share(batch), d_steps), [])
    assert global_stream(images, iterations, batch, processes, accumulate, d_steps) == one


@settings(max_examples=30, deadline=None)
@given(**shapes, start=st.integers(0, 6))
def test_restart_continues_the_stream(images, d_steps, iterations, k, start):
    share = Share(6 * k, 2, 1)
    whole = taken(images, start + iterations, share, d_steps)
    assert taken(images, iterations, share, d_steps, start) == whole[start:]


def test_seeds_have_other_orders():
    assert next(iter(Iterations(100, 1, Share(50)))) != next(iter(Iterations(100, 2, Share(50))))


@pytest.fixture
def files(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (12, 6, 6, 3), np.uint8)
    paths = [str(tmp_path / f"{i:02}.png") for i in range(12)]
    for path, image in zip(paths, pixels, strict=True):
        Image.fromarray(image).save(path)
    return paths


@pytest.mark.parametrize("workers", [0, 2])
def test_streaming_equals_memory(files, workers):
    images, labels = FileImages(files, 4, 3, "files"), torch.arange(12)
    held = Loader(MemorySet(images.read_all(), labels), Iterations(12, SEED, Share(5), 2))
    streamed = Loader(StreamedSet(images, labels), Iterations(12, SEED, Share(5), 2), workers)
    state = torch.get_rng_state()
    for (a, a_labels), (b, b_labels) in islice(zip(held, streamed, strict=True), 4):
        assert a.shape == (10, 3, 4, 4) and a.dtype == torch.uint8 and a_labels.dtype == torch.int64
        assert torch.equal(a, b) and torch.equal(a_labels, b_labels)
    assert torch.equal(torch.get_rng_state(), state)  # the global generator has no part in it


def test_left_loader_ends_its_workers(files):
    before = set(multiprocessing.active_children())
    batches = iter(
        Loader(StreamedSet(FileImages(files, 4, 3, "files"), torch.zeros(12)), Iterations(12, 0, Share(4)), 2)
    )
    next(batches)
    assert len(set(multiprocessing.active_children()) - before) == 2
    batches.close()
    assert set(multiprocessing.active_children()) <= before


@pytest.mark.parametrize("workers", [0, 1])
def test_unreadable_image_is_one_line_that_names_it(files, workers):
    with open(files[3], "wb") as file:
        file.write(b"no image")
    image_set = StreamedSet(FileImages(files, 4, 3, "files"), torch.zeros(12, dtype=torch.int64))
    with pytest.raises(InputError) as caught:
        next(iter(Loader(image_set, Iterations(12, 0, Share(12)), workers)))
    message = str(caught.value)
    assert message.startswith(f"cannot read the image {files[3]}") and "\n" not in message


class Reader(pl.LightningModule):
    """Reads batches and keeps their labels; stands for a model."""

    def __init__(self, until: int):
        super().__init__()
        self.automatic_optimization = False
        self.weight = nn.Parameter(torch.zeros(()))
        self.register_buffer("done", torch.zeros((), dtype=torch.int64))
        self.seed, self.share, self.until, self.seen = SEED, Share(8), until, []
        self.rules = SimpleNamespace(d_steps=2)

    @property
    def iteration(self) -> int:
        return int(self.done)

    def training_step(self, batch, _):
        self.seen.append(batch[1].tolist())
        self.done += 1
        self.trainer.should_stop = self.iteration >= self.until

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.mark.filterwarnings("error:.*resum.*", "error:.*workers.*")
def test_lightning_resumes_in_the_middle_of_an_epoch(tmp_path):
    def fit(until, ckpt_path=None):
        data = Noise(resolution=4, channels=1, classes=50, size=50, seed=0, batch_size=8, flip=False)
        model = Reader(until)
        trainer = pl.Trainer(
            max_epochs=-1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, use_distributed_sampler=False, default_root_dir=tmp_path,
        )  # fmt: skip
        trainer.fit(model, data, ckpt_path=ckpt_path, weights_only=True)
        trainer.save_checkpoint(tmp_path / "last.ckpt")
        return model.seen

    whole, first = fit(7), fit(4)
    assert len(first) == 4
    assert first + fit(7, tmp_path / "last.ckpt") == whole


def shown_by(limit: int, seed: int, size: int = 40) -> list[int]:
    """Which images a data module's loader shows in ten iterations of four."""
    data = Noise(resolution=2, channels=1, classes=0, size=size, seed=0, batch_size=4, flip=False, limit=limit)
    data.setup()
    model = SimpleNamespace(seed=seed, share=Share(4), rules=SimpleNamespace(d_steps=1), iteration=0)
    data.trainer = SimpleNamespace(lightning_module=model)
    batches = [images for images, _ in islice(data.train_dataloader(), 10)]
    assert len(data.train_set) == size  # which scores compare with
    everything = data.train_set.images.flatten(1)
    return [int((everything == image).all(1).nonzero()) for image in torch.cat(batches).flatten(1)]


def test_a_limit_is_a_fixed_part_in_an_order_of_the_seed():
    whole, part, other = shown_by(0, 1), shown_by(8, 1), shown_by(8, 2)
    assert sorted(whole) == list(range(40))
    assert len(set(part)) == 8 and set(part) == set(other) and part != other and set(part) != set(range(8))
    for epoch in range(5):
        assert set(part[8 * epoch : 8 * epoch + 8]) == set(part)


def test_a_limit_above_the_number_of_images_is_refused():
    with pytest.raises(InputError, match="data.limit=41, but .* holds 40 training images: choose fewer, or 0 for all"):
        shown_by(41, 1)
