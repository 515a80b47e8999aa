"""Run as a process of its own: open each file named on standard input, under limits, and tell what came of it.

A line of JSON a file: its path, the error's text ("" where it opened), the seconds of the processor, what an audit hook
saw meanwhile (imports of modules not there yet, code compiled or run, processes, sockets, files written), and the peak
of the process's memory so far. With `--load`, files are unpickled as a careless program would: the control.
"""

from __future__ import annotations

import encodings.cp437  # noqa: F401  # in which archives name their entries; brought in before anything is watched
import json
import pickle
import resource
import sys
import time
from pathlib import Path

from triptych.errors import TriptychError
from triptych.files.tensorfile import TensorFile

ACTS = ("import", "compile", "exec", "os.", "subprocess.", "socket.", "pickle.find_class", "shutil.", "webbrowser.")
HARMLESS = ("os.listdir", "os.scandir")
SEEN: list[str] = []
SECONDS, BYTES = 10, 1_000_000_000


def watch(event: str, given: tuple[object, ...]) -> None:
    writes = event == "open" and len(given) > 1 and isinstance(given[1], str) and set(given[1]) & set("wax+")
    known = event == "import" and given[0] in sys.modules
    if writes or (event.startswith(ACTS) and event not in HARMLESS and not known):
        SEEN.append(f"{event} {given!r:.80}")


def peak() -> int:
    """Bytes of memory that this process had at most."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def opened(path: str) -> str:
    try:
        TensorFile.open(Path(path))
    except TriptychError as error:
        return str(error)
    return ""


def loaded(path: str) -> str:
    try:
        pickle.loads(Path(path).read_bytes())
    except Exception as error:
        return repr(error)
    return ""


def main() -> None:
    paths = sys.stdin.read().splitlines()
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    sys.addaudithook(watch)
    for path in paths:
        spent = time.process_time()
        resource.setrlimit(resource.RLIMIT_CPU, (int(spent) + SECONDS, resource.RLIM_INFINITY))
        SEEN.clear()
        said = (loaded if "--load" in sys.argv else opened)(path)
        seen = list(SEEN)
        print(json.dumps([path, said, time.process_time() - spent, seen, peak(), "torch" in sys.modules]), flush=True)


if __name__ == "__main__":
    main()
