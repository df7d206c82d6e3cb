"""transformers' Auto classes know Clara's models, whichever is imported first."""

from __future__ import annotations

import subprocess
import sys

import pytest

OURS = "import clara.model.modeling, clara.processing, clara"
CHECK = """
from transformers import AutoConfig
from transformers.models.auto.modeling_auto import MODEL_MAPPING
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING
assert AutoConfig.for_model("clara").model_type == "clara"
assert MODEL_MAPPING[clara.ClaraConfig] is clara.model.modeling.ClaraModel
assert PROCESSOR_MAPPING[clara.ClaraConfig] is clara.processing.ClaraProcessor
"""


@pytest.mark.parametrize(
    "first",
    [OURS, f"{OURS}; from transformers import AutoModel", f"from transformers import AutoModel; {OURS}"],
)
def test_auto_classes_in_any_order(first: str) -> None:
    done = subprocess.run([sys.executable, "-c", first + CHECK], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
