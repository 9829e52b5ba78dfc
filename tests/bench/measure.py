"""Processes and what they use: CPU time from wait4 and peaks of memory from /proc, in seconds and bytes."""

import os
import pathlib
import shutil
import subprocess
import tempfile
import threading
import time

TICKS = os.sysconf("SC_CLK_TCK")
LOOK_EVERY_S = 0.02
# A process that hangs is ended, and with it the benchmark.
LONGEST_S = 900


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, its threads and the children it has waited for."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(int(fields[i]) for i in range(11, 15)) / TICKS


def peak_bytes(pid: int) -> int:
    """The most resident memory a process has had so far; 0 once it has ended."""
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    peaks = [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")]
    return peaks[0] * 1024 if peaks else 0


class Child:
    """A process under measurement. Its figures count from `begin`, so that loading itself is not held against it."""

    def __init__(self, command, cwd=None, stdin=None):
        command = [str(word) for word in command]
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            command, cwd=cwd, stdin=stdin, stdout=subprocess.PIPE, stderr=self.errors, text=True
        )
        self.began = time.monotonic()
        self.cpu_before = 0.0
        self.peak_bytes = 0
        self.watcher = threading.Thread(target=self.watch_memory, daemon=True)
        self.watcher.start()
        self.limit = threading.Timer(LONGEST_S, self.process.kill)
        self.limit.daemon = True
        self.limit.start()

    def watch_memory(self) -> None:
        """wait4 tells a peak too, but that of the process which started this one is in it."""
        while (peak := peak_bytes(self.process.pid)) or self.process.returncode is None:
            self.peak_bytes = max(self.peak_bytes, peak)
            time.sleep(LOOK_EVERY_S)

    def wait_line(self, start: str) -> str:
        """The next line of its standard output that begins with `start`."""
        for line in self.process.stdout:
            if line.startswith(start):
                return line.strip()
        raise RuntimeError(f"{self.process.args[0]} ended before it said {start!r}: {self.last_errors()}")

    def begin(self) -> None:
        self.cpu_before = cpu_seconds(self.process.pid)
        self.began = time.monotonic()

    def elapsed(self) -> float:
        return time.monotonic() - self.began

    def finish(self, signal=None) -> dict:
        """Waits for its end: seconds since `begin`, CPU seconds since `begin`, peak of resident memory."""
        if signal is not None:
            self.process.send_signal(signal)
        # Read to the end before waiting, so that it can never stand still at a full pipe.
        rest = self.process.stdout.read()
        _, status, usage = os.wait4(self.process.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        self.watcher.join()
        self.limit.cancel()
        if self.process.returncode != 0:
            raise RuntimeError(f"{self.process.args} ended with {self.process.returncode}: {self.last_errors()}")
        return {
            "seconds": self.elapsed(),
            "cpu_s": usage.ru_utime + usage.ru_stime - self.cpu_before,
            "peak_mib": self.peak_bytes / 2**20,
            "said": rest,
        }

    def last_errors(self) -> str:
        self.errors.seek(0)
        return self.errors.read()[-2000:]

    def kill(self) -> None:
        if self.process.returncode is None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def measured(command, cwd=None) -> dict:
    """Runs a command to its end."""
    return Child(command, cwd=cwd).finish()


def emptied(directory: pathlib.Path) -> pathlib.Path:
    """A new, empty directory: what an earlier run left there would be duplicates now."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    return directory


def percentile(values, share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def size_of(paths) -> tuple[int, int]:
    """How many files, how many bytes."""
    sizes = [os.path.getsize(path) for path in paths]
    return len(sizes), sum(sizes)


def table(title: str, columns: list[str], rows: list[list]) -> None:
    """Prints a table: the first column is a name, all others are right-aligned."""
    cells = [columns] + [[shown(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    print(f"\n{title}")
    for row in cells:
        line = [row[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
        print("  ".join(line))


def shown(cell) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, str):
        return cell
    if isinstance(cell, int) or abs(cell) >= 1000:
        return f"{cell:,.0f}"
    return f"{cell:.1f}" if abs(cell) >= 10 else f"{cell:.3g}"
