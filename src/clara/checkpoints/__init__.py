"""Model folders: finding them, safetensors, adapters in PEFT's format, released pickles, fingerprints."""
