"""What is printed may be read by nobody: a closed pipe, a lost terminal or a full disk ends no run. Free of torch."""

from __future__ import annotations

import io
import os
import sys


class Unminded(io.FileIO):
    """A file whose first failing write turns it into os.devnull."""

    def write(self, data: io.ReadableBuffer) -> int | None:  # type: ignore[name-defined, override]
        """As of any file; what cannot be written is lost, and nothing else."""
        try:
            return super().write(data)
        except BlockingIOError:
            raise
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())  # also for the processes that this one starts, and at the end of Python
            os.close(nowhere)
            return super().write(data)


def outlive() -> None:
    """From now on let no failure to write to stdout or stderr reach who prints. Streams that were replaced stay."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper) and stream is getattr(sys, f"__{name}__"):
            stream.flush()
            lasting = io.TextIOWrapper(
                io.BufferedWriter(Unminded(stream.fileno(), "w", closefd=False)),
                stream.encoding,
                stream.errors,
                line_buffering=stream.line_buffering,
                write_through=stream.write_through,
            )
            setattr(sys, name, lasting)
