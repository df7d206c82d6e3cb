"""Model folders: where they are, safetensors, adapters in PEFT's format, the released pickles, fingerprints."""
