"""Index the example documents and ask a question: the default model, no network, no GPU.

python examples/quickstart.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from clara import Clara, Library

DOCUMENTS = Path(__file__).parent / "documents"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, Library(Clara.from_pretrained(), Path(folder)) as library:
        library.add(DOCUMENTS / "technology")
        answer = library.ask("On what day was the Brooklyn Bridge opened?")
        print(answer.text)
        for source in answer.sources[:2]:
            print(
                f"{source.rank}. {source.score:.3f} {Path(source.file).name} {source.heading} {source.lines}"
            )


if __name__ == "__main__":
    main()
