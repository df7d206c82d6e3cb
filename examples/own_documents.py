"""Keep a store of your own documents up to date and ask it questions.

    python examples/own_documents.py ~/Documents/notes "Who signed the lease?" --where format=md

Run it again after files have changed: unchanged files are skipped. Without arguments it uses the example
documents about space.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from clara import Clara, ClaraError, Library

DOCUMENTS = Path(__file__).parent / "documents"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, default=DOCUMENTS / "space")
    parser.add_argument("question", nargs="?", default="When was Voyager 1 launched?")
    parser.add_argument("--store", type=Path, default=Path("clara-store"))
    parser.add_argument("--where", action="append", default=[], help="a condition, such as format=md")
    options = parser.parse_args()

    with Library(Clara.from_pretrained(), options.store) as library:
        report = library.add(options.folder, remove_missing=True)
        print(f"{report.added} added, {report.replaced} replaced, {report.unchanged} unchanged")
        for file, reason in report.refused:
            print(f"refused: {file}: {reason}")
        try:
            answer = library.ask(options.question, where=options.where)
        except ClaraError as error:  # one sentence: what is wrong and what to do
            raise SystemExit(f"Error: {error}") from error

    print(f"Q: {options.question}")
    print(f"A: {answer.text}{' (doubtful)' if answer.is_doubtful else ''}")
    for source in answer.sources:
        place = f"page {source.page}" if source.page else f"lines {source.lines}" if source.lines else ""
        print(f"{source.rank}. {source.score:.3f} {source.file} {source.heading} {place}")
        if source.evidence is not None:
            print(f"   {source.evidence.text}")


if __name__ == "__main__":
    main()
