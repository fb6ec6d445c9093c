"""A simulated judge: a loopback HTTP server with the chat-completions protocol, for the demo and for tests."""
