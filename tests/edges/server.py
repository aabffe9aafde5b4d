"""Runs commands in forks of a process that has loaded everything already, and kills some of them half-way.

Reads a request per line, JSON: {"calls": [[words], ...], "after": seconds or null, "event": number or null}. The calls run
side by side. Answers with a line: [{"code", "out", "seconds", "memory", "events"}, ...]. A call is killed by SIGKILL after so many
seconds, or when it asks the system for its so-manieth change of a file.
"""

import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from keras_unet3d.machine import kernels

_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}


def _is_change(event: str, arguments: tuple) -> bool:
    if event == "open":
        return isinstance(arguments[2], int) and bool(arguments[2] & (os.O_WRONLY | os.O_RDWR))
    return event in _CHANGES


def _run(words: list[str], report: Path, last: int | None) -> None:
    """Run a command in this process, a fork, and write down what it changes; never returns."""
    from keras_unet3d import cli

    count = 0

    def hook(event: str, arguments: tuple) -> None:
        nonlocal count
        if _is_change(event, arguments):
            count += 1
            if count == last:
                os.kill(os.getpid(), signal.SIGKILL)

    target = os.open(report.with_suffix(".out"), os.O_WRONLY | os.O_CREAT)
    os.dup2(target, 1)
    os.dup2(target, 2)
    sys.addaudithook(hook)
    code = 0
    try:
        cli.main(words)
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1 if stop.code else 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        report.write_text(str(count))
        os._exit(code)


def _answer(request: dict, folder: Path) -> list[dict]:
    begun, children = time.monotonic(), {}
    for number, words in enumerate(request["calls"]):
        report = folder / f"{number}.events"
        child = os.fork()
        if not child:
            _run(words, report, request["event"])
        children[child] = (number, report)
    if request["after"] is not None:
        time.sleep(request["after"])
        for child in children:
            os.kill(child, signal.SIGKILL)
    answers = {}
    while children:
        child, status, used = os.wait4(-1, 0)
        number, report = children.pop(child)
        answers[number] = {
            "code": os.waitstatus_to_exitcode(status),
            "out": report.with_suffix(".out").read_text(errors="replace")
            if report.with_suffix(".out").exists()
            else "",
            "seconds": time.monotonic() - begun,
            "memory": used.ru_maxrss * 1024,
            "events": int(report.read_text()) if report.exists() else 0,
        }
    return [answers[number] for number in sorted(answers)]


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    kernels.load_backend_quietly()
    # What the commands import within; forks have it then.
    import keras_unet3d.cli.next_steps
    import keras_unet3d.workflows.annotate.suggest
    import keras_unet3d.workflows.evaluate.run
    import keras_unet3d.workflows.fit.run
    import keras_unet3d.workflows.predict.files
    import keras_unet3d.zoo.exporting
    import keras_unet3d.zoo.installing  # noqa: F401

    print("ready", file=answers)
    for line in sys.stdin:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(_answer(json.loads(line), Path(folder))), file=answers)


main()
