"""Clara: question answering over your own documents through memory tokens."""

__version__ = "0.1.0"
