"""Load a checkpoint in Apple's format, compress passages, rank them for a question, and answer.

    python examples/released_checkpoint.py apple/CLaRa-7B-E2E --subfolder compression-16
    python examples/released_checkpoint.py CLaRa-7B-E2E/compression-16 --base models/Mistral-7B-Instruct-v0.2

The 7B checkpoint needs about 15 GB of memory in bfloat16. The first argument is a hub id or a folder; `clara
convert SOURCE TARGET` rewrites a folder as safetensors, which loads the same way.
"""

from __future__ import annotations

import argparse
import tempfile

from clara import Clara, Library

PASSAGES = {
    "bridge": "The Brooklyn Bridge crosses the East River in New York. It was opened on 24 May 1883.",
    "lake": "Lake Baikal in Siberia is the deepest lake on Earth, with a depth of 1,642 metres.",
    "canal": "The Suez Canal joins the Mediterranean Sea with the Red Sea. It was opened in 1869.",
}
QUESTION = "When was the Brooklyn Bridge opened?"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", help="hub id or folder")
    parser.add_argument("--subfolder")
    parser.add_argument("--base", help="base model, if not the one that the checkpoint names")
    options = parser.parse_args()

    clara = Clara.from_pretrained(options.checkpoint, subfolder=options.subfolder, base=options.base)
    memories, _ = clara.compress(list(PASSAGES.values()))
    for name, memory in zip(PASSAGES, memories, strict=True):
        print(f"{name}: {memory.shape[0]} memory tokens of dimension {memory.shape[1]}")
    with tempfile.TemporaryDirectory() as folder, Library(clara, folder) as library:
        library.add_texts(PASSAGES)
        answer = library.ask(QUESTION, 2)
    for source in answer.sources:
        print(f"{source.rank}. {source.score:.3f} {source.title}")
    print(f"answer: {answer.text!r}")


if __name__ == "__main__":
    main()
