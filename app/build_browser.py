"""A page that recognises emotion in the browser, as one folder that any static host serves.

python -m app.build_browser [--model FILE] [--output models/browser] [--serve [PORT]]

The folder holds the page, the model, and the runtime from the npm packages that `npm ci` installs
in app/browser. --serve then serves it on 127.0.0.1. An existing folder is replaced if the command
made it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from app.models import DEFAULT, Model, default_model, load_model
from app.profiles import WINDOW_S
from app.recordings import HOP_S
from app.recordings import WINDOW_S as SPAN_S
from stages.running.entry import run_command
from stages.running.outputs import complete

SOURCE = Path(__file__).parent / "browser"
#: Where npm installs onnxruntime-web, and what the page uses of it.
PACKAGE = SOURCE / "node_modules" / "onnxruntime-web" / "dist"
RUNTIME = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")
OUTPUT = Path("models/browser")
#: Allows the page's own files, WebAssembly, and the length of a chosen file to be read.
POLICY = (
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; media-src blob:; "
    "object-src 'none'; base-uri 'none'; form-action 'none'"
)
_FACTS = ("model", "speech", "protocol", "corpora", "ua", "ua_low", "ua_high")
_PAGE = ("index.html", "style.css", "icon.svg")
_SCRIPTS = ("answering", "charts", "page", "sounds", "tap", "voice", "waveforms")
_OPTIONAL = ("speaker_mean", "speaker_std")


def build(path: Path, *, output: Path, package: Path = PACKAGE) -> int:
    """Write the page with a model into a folder.

    Parameters
    ----------
    path : Path
        an exported model
    output : Path
        the folder, which is made, or replaced if it holds nothing but files of such a page
    package : Path
        folder of the runtime

    Returns
    -------
    int
        size of the folder in bytes

    Raises
    ------
    FileNotFoundError
        if the model or the runtime is missing
    ValueError
        if the model is none, or one that a browser cannot condition sound for, or if the folder
        holds other files
    """
    if path.suffix != ".onnx":
        raise ValueError(f"--model: got {path}, want an exported model, .onnx")
    for name in RUNTIME:
        if not (package / name).is_file():
            raise FileNotFoundError(
                f"{package / name}: no such file; `npm ci --prefix {SOURCE}` installs it"
            )
    model = load_model(path)
    if model.audio["denoise"]:
        raise ValueError(
            f"{path}: audio.denoise: got {model.audio['denoise']}, want a model that was trained "
            "without: noise is not removed in the browser"
        )
    graph = path.read_bytes()
    if model.statistics:
        graph = _with_required_inputs(graph)
    files = {
        **{name: (SOURCE / name).read_bytes() for name in _PAGE},
        **{f"{name}.js": (SOURCE / f"{name}.js").read_bytes() for name in _SCRIPTS},
        **{f"runtime/{name}": (package / name).read_bytes() for name in RUNTIME},
        "model.onnx": graph,
        "model.json": json.dumps(_description(model, graph)).encode(),
    }
    page = files["index.html"].decode()
    files["index.html"] = page.replace("{{policy}}", POLICY).encode()
    output = output.resolve()
    _check_folder(output, known=set(files))
    with complete(output) as part:
        for name, content in files.items():
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            (part / name).write_bytes(content)
    return sum(map(len, files.values()))


def _description(model: Model, graph: bytes) -> dict[str, Any]:
    """Return what the page needs to know: the browser's runtime cannot read metadata."""
    return {
        "bytes": len(graph),
        "sha256": hashlib.sha256(graph).hexdigest(),
        "labels": model.labels,
        "audio": model.audio,
        "statistics": model.statistics and model.statistics.as_json(),
        "window_s": WINDOW_S,
        "span_s": SPAN_S,
        "hop_s": HOP_S,
        "facts": {name: model.facts[name] for name in _FACTS if name in model.facts},
    }


def _with_required_inputs(graph: bytes) -> bytes:
    """Take the default values off the inputs for a speaker: the runtime refuses optional inputs."""
    import onnx

    model = onnx.load_from_string(graph)
    for tensor in [t for t in model.graph.initializer if t.name in _OPTIONAL]:
        model.graph.initializer.remove(tensor)
    return model.SerializeToString(deterministic=True)


def _check_folder(output: Path, *, known: set[str]) -> None:
    if output.exists() and not output.is_dir():
        raise ValueError(f"--output: {output} is a file, want a folder")
    found = (path for path in output.rglob("*") if not path.is_dir())
    others = sorted(path.relative_to(output).as_posix() for path in found)
    others = [name for name in others if name not in known]
    if others:
        raise ValueError(
            f"--output: {output} holds other files, such as {others[0]}; want a new folder, or one "
            "that this command made"
        )


class Handler(SimpleHTTPRequestHandler):
    """Serves the folder with the types that browsers insist on, and with the page's policy."""

    extensions_map = SimpleHTTPRequestHandler.extensions_map | {
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
    }

    def end_headers(self) -> None:
        """Add headers to each response."""
        self.send_header("Content-Security-Policy", POLICY)  # that of the worker, too
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


def server(folder: Path, *, port: int) -> ThreadingHTTPServer:
    """Return a server of a folder on 127.0.0.1; port 0 takes any free one."""
    return ThreadingHTTPServer(("127.0.0.1", port), partial(Handler, directory=str(folder)))


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, metavar="FILE", help=DEFAULT)
    parser.add_argument(
        "--output", type=Path, default=OUTPUT, metavar="FOLDER", help=f"default: {OUTPUT}"
    )
    parser.add_argument(
        "--serve",
        type=int,
        nargs="?",
        const=8080,
        metavar="PORT",
        help="serve the folder on 127.0.0.1; default: 8080",
    )
    arguments = parser.parse_args()
    if arguments.serve is not None and not 0 <= arguments.serve < 1 << 16:
        parser.error(f"--serve: got {arguments.serve}, want 0 to 65535")
    size = build(arguments.model or default_model(), output=arguments.output)
    print(f"{arguments.output}: {size / 1e6:.1f} MB, ready for any static host")
    if arguments.serve is not None:
        with server(arguments.output, port=arguments.serve) as http:
            print(f"http://127.0.0.1:{http.server_port}", flush=True)
            http.serve_forever()


if __name__ == "__main__":
    run_command(main)
