"""Signals: noted while training, at once otherwise, and a second Ctrl-C always."""

from __future__ import annotations

import os
import signal

import pytest

from saddle.errors import NonFinite
from saddle.run import signals
from saddle.run.status import Preempted, describe, status_of


@pytest.fixture(autouse=True)
def installed(signal_handlers: None) -> None:
    """Install the handlers for the length of a test."""
    signals.install()


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP])
def test_a_request_to_end_is_noted_while_training(number: int) -> None:
    with pytest.raises(Preempted):
        send(number)
    signals.forget()
    signals.arm(True)
    assert signals.received() is None
    send(number)
    send(number)
    assert signals.received() == "preempted"


def test_under_nohup_a_lost_terminal_ends_nothing() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signals.install()
    send(signal.SIGHUP)
    signals.arm(True)
    assert signals.received() is None


def test_a_second_ctrl_c_is_obeyed_at_once() -> None:
    signals.arm(True)
    send(signal.SIGTERM)
    send(signal.SIGINT)
    assert signals.received() == "interrupted"
    with pytest.raises(KeyboardInterrupt):
        send(signal.SIGINT)


def test_ctrl_c_before_training_is_obeyed_at_once() -> None:
    with pytest.raises(KeyboardInterrupt):
        send(signal.SIGINT)


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (NonFinite(7, "train/d_loss"), "nonfinite", "iteration 7: train/d_loss is not finite"),
        (Preempted(), "preempted", "Preempted"),
        (KeyboardInterrupt(), "interrupted", "KeyboardInterrupt"),
        (RuntimeError("two\nlines"), "failed", "RuntimeError: two lines"),
        (MemoryError(), "failed", "MemoryError"),
    ],
)
def test_words_for_errors(error: BaseException, status: str, text: str) -> None:
    assert status_of(error) == status
    assert text in describe(error)
