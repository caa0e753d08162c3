"""A local server that speaks the hub's interface and byte ranges, and fails now and then."""

import contextlib
import hashlib
import json
import random
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

REPOSITORY = "someone/model"


class Hub:
    """Serves `folders`: revision -> folder. `failures` is the share of requests, of each
    hundred, that fail in several ways.

    `sent` counts the bytes of files that were sent; `requests` lists (path, token) of files. `stop_after` is
    the number of bytes after which every request is refused.
    """

    def __init__(self, folders, failures=0.0, ranges=True, stop_after=None):
        self.folders = {hashlib.sha1(name.encode()).hexdigest(): folder for name, folder in folders.items()}
        self.names = {name: hashlib.sha1(name.encode()).hexdigest() for name in folders}
        self.failures, self.ranges, self.stop_after = failures, ranges, stop_after
        self.random, self.lock = random.Random(0), threading.Lock()
        self.sent, self.requests, self.failed, self.count, self.bad = 0, [], 0, 0, set()

    def fails(self):
        with self.lock:
            if self.stop_after is not None and self.sent >= self.stop_after:
                return "refused"
            if self.count % 100 == 0:
                self.bad = set(self.random.sample(range(100), round(100 * self.failures)))
            self.count += 1
            if (self.count - 1) % 100 not in self.bad:
                return ""
            self.failed += 1
            return self.random.choice(["refused", "cut", "busy", "closed"])


class Handler(BaseHTTPRequestHandler):
    """Answers refs, model info, and files by whole or by range."""

    hub: Hub

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = unquote(urlsplit(self.path).path)
        failure = self.hub.fails()
        if failure in ("refused", "busy"):
            return self.send_error(500 if failure == "refused" else 429)
        if failure == "closed":
            self.close_connection = True
            return None
        if path == f"/api/models/{REPOSITORY}/refs":
            branches = [{"name": name, "ref": f"refs/heads/{name}", "targetCommit": commit}
                        for name, commit in self.hub.names.items()]
            return self.answer(json.dumps({"branches": branches, "tags": [], "converts": []}).encode())
        info = re.fullmatch(f"/api/models/{REPOSITORY}/revision/(\\w+)", path)
        if info:
            return self.answer(json.dumps(self.info(info[1])).encode())
        file = re.fullmatch(f"/{REPOSITORY}/resolve/(\\w+)/([^/]+)", path)
        if file and (self.hub.folders[file[1]] / file[2]).is_file():
            return self.file((self.hub.folders[file[1]] / file[2]).read_bytes(), path, failure)
        return self.send_error(404)

    def info(self, commit):
        siblings = []
        for file in sorted(self.hub.folders[commit].iterdir()):
            content = file.read_bytes()
            siblings.append({"rfilename": file.name, "size": len(content), "blobId": "0",
                             "lfs": {"size": len(content), "sha256": hashlib.sha256(content).hexdigest(),
                                     "pointerSize": 1}})
        return {"_id": "1", "id": REPOSITORY, "modelId": REPOSITORY, "sha": commit, "siblings": siblings,
                "private": False, "tags": [], "downloads": 0, "likes": 0}

    def file(self, content, path, failure):
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        total = len(content)
        if asked and self.hub.ranges:
            start, stop = int(asked[1]), min(int(asked[2]) + 1, total)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{total}")
            content = content[start:stop]
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        part = content[: len(content) // 2] if failure == "cut" else content
        with self.hub.lock:
            self.hub.sent += len(part)
            self.hub.requests.append((path, self.headers.get("Authorization")))
        self.wfile.write(part)
        self.close_connection = True

    def answer(self, content):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextlib.contextmanager
def served(hub):
    """The address of `hub`, while the block runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OfHub", (Handler,), {"hub": hub}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
