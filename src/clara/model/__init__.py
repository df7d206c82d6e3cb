"""The network: roles on a base model, memories, selection, generation. No files, no prompts, no store."""
