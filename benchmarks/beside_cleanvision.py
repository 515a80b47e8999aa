"""What cleanvision finds in the generated folders of `benchmarks.junk`, for the kinds of junk that it knows.

    pip install cleanvision
    python -m benchmarks.beside_cleanvision --seed 0

It is used with its own limits, on the folders of the group "report", without the two broken files, which it does not
read.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.junk import SAME, Folder, Photograph, generated, sources, write

KNOWN = {  # its issues, and the faults that they are
    "blurry": "blurred", "dark": "dark", "light": "light", "low_information": "empty", "odd_aspect_ratio": "wide",
    "odd_size": "small", "exact_duplicates": "copy", "near_duplicates": "near-copy",
}  # fmt: skip


def found_in(folder: Folder, place: Path, chance: random.Random) -> dict[str, set[str]]:
    """Name -> faults that cleanvision finds."""
    write(folder, place, chance)
    for path in [*place.glob("*.txt"), place / "truncated.jpg", place / "unreadable.png"]:
        path.unlink(missing_ok=True)
    lab = import_module("cleanvision").Imagelab(data_path=str(place))
    lab.find_issues(n_jobs=1, verbose=False)
    return {
        Path(path).name: {fault for issue, fault in KNOWN.items() if row[f"is_{issue}_issue"]}
        for path, row in lab.issues.iterrows()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    chance = random.Random(f"report {parser.parse_args().seed}")
    every, planted, hits, clean_pictures, alarms = list(sources("report")), Counter[str](), Counter[str](), 0, 0
    for source in every:
        others = [other for other in every if other.name != source.name and isinstance(other, Photograph)]
        clean, junk = generated(source, chance.choice(others), chance)
        with TemporaryDirectory() as temporary:
            on_clean, on_junk = (
                found_in(each, Path(temporary) / name, chance) for each, name in ((clean, "clean"), (junk, "junk"))
            )
        clean_pictures += len(clean.pictures)
        alarms += sum(bool(faults) for faults in on_clean.values())
        own = {name: fault for name, fault in junk.planted.items() if fault in KNOWN.values()}
        planted.update(own.values())
        hits.update(fault for name, fault in own.items() if on_junk.get(name, set()) & SAME.get(fault, {fault}))
    recall = {fault: hits[fault] / count for fault, count in planted.items()}
    print(json.dumps({"clean_pictures": clean_pictures, "with_a_finding": alarms, "recall": recall}, indent=1))


if __name__ == "__main__":
    main()
