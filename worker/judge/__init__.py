"""The judge: one effect, an OpenAI-compatible chat completion."""
