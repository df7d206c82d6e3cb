"""Importing clara is light, and the Auto classes know it whichever comes first."""

from __future__ import annotations

import subprocess
import sys

import pytest

import clara


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_is_light() -> None:
    code = "import sys, clara; print([m for m in ('torch', 'transformers', 'numpy') if m in sys.modules])"
    assert run(code) == "[]"


CHECK = """
from transformers import AutoConfig
from transformers.models.auto.modeling_auto import MODEL_MAPPING
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING
assert AutoConfig.for_model("clara").model_type == "clara"
assert MODEL_MAPPING[clara.ClaraConfig] is clara.ClaraModel
assert PROCESSOR_MAPPING[clara.ClaraConfig] is clara.ClaraProcessor
"""


@pytest.mark.parametrize(
    "first",
    [
        "import clara; from transformers import AutoModel",
        "from transformers import AutoModel, AutoProcessor; import clara",
        "import clara; from transformers import AutoProcessor",
        "import clara.processing, clara",
    ],
)
def test_auto_classes_in_any_order(first: str) -> None:
    run(first + CHECK)


def test_public_names() -> None:
    assert set(clara.__all__) <= set(dir(clara))
    for name in ("ClaraConfig", "ClaraModel", "ClaraProcessor", "load", "CheckpointError"):
        assert getattr(clara, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = clara.Nothing
