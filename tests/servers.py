"""Servers that tests start on this machine: of files, and as much of Hugging Face as its library asks for."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


@dataclass
class Site:
    """What a server of files gives, and what it was asked.

    Attributes:
        folder: whose files it gives.
        url: its address.
        redirects: path -> where it sends to.
        pages: paths at which there is a web page instead.
        cuts: after how many bytes the connection is cut, one for each of the next answers.
        ranges: whether it gives parts of files.
        says_length: whether it says how long a file is.
        asked: path and `Range` of every request.
    """

    folder: Path
    url: str = ""
    redirects: dict[str, str] = field(default_factory=dict)
    pages: set[str] = field(default_factory=set)
    cuts: list[int] = field(default_factory=list)
    ranges: bool = True
    says_length: bool = True
    asked: list[tuple[str, str | None]] = field(default_factory=list)


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Run a server for as long as this lasts, and yield its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Quiet(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def answer(self, code: int, content: bytes = b"", **headers: str) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@contextmanager
def file_server(folder: Path) -> Iterator[Site]:
    """Serve the files of a folder."""
    site = Site(folder)

    class Handler(_Quiet):
        def do_GET(self):
            # A proxy is asked for whole addresses.
            path = unquote(urlsplit(self.path).path)
            wanted = self.headers.get("Range")
            site.asked.append((self.path, wanted))
            file = folder / path.lstrip("/")
            if path in site.redirects:
                self.answer(302, Location=site.redirects[path])
            elif path in site.pages:
                self.answer(200, b"<html>log in</html>", Content_Type="text/html; charset=utf-8")
            elif not file.is_file():
                self.answer(404, b"<html>nothing here</html>", Content_Type="text/html")
            else:
                self._give(file.read_bytes(), wanted)

        def _give(self, content: bytes, wanted: str | None):
            begun = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and site.ranges else 0
            if begun and begun >= len(content):
                self.answer(416, Content_Range=f"bytes */{len(content)}")
                return
            rest = content[begun:]
            sent = rest[: site.cuts.pop(0)] if site.cuts else rest
            headers = {"Content_Type": "application/zip"}
            if site.says_length:
                headers["Content_Length"] = str(len(rest))
            if begun:
                headers["Content_Range"] = f"bytes {begun}-{len(content) - 1}/{len(content)}"
            self.answer(206 if begun else 200, sent, **headers)

    with serving(Handler) as site.url:
        yield site


@dataclass
class Repository:
    """A repository of the hub: commits, the newest last, each with its files; and tags."""

    commits: list[dict[str, bytes]] = field(default_factory=lambda: [{".gitattributes": b""}])
    tags: dict[str, int] = field(default_factory=dict)

    def number(self, revision: str) -> int | None:
        """Return which commit a branch, tag or hash is; None where there is none."""
        if revision == "main":
            return len(self.commits) - 1
        known = self.tags | {_hash(number): number for number in range(len(self.commits))}
        return known.get(revision)


def _hash(number: int) -> str:
    return hashlib.sha1(str(number).encode()).hexdigest()


@dataclass
class Hub:
    """What a hub holds, what it wants and what it was asked."""

    url: str = ""
    token: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    tokens: set[str | None] = field(default_factory=set)


@contextmanager
def hub_server() -> Iterator[Hub]:
    """Serve as much of Hugging Face as a bundle needs."""
    hub = Hub()

    class Handler(_Quiet):
        def do_GET(self):
            self._begin()
            path = urlsplit(self.path).path
            if part := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
                self._file(part[1], unquote(part[2]), unquote(part[3]))
            elif part := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree|refs)(?:/([^/]+))?)?/?", path):
                self._about(part[1], part[2] or "revision", unquote(part[3] or "main"))
            else:
                self._json(404, {"error": f"not known to this test: {path}"})

        do_HEAD = do_GET

        def do_POST(self):
            self._begin()
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path = urlsplit(self.path).path
            if hub.token and self.headers.get("Authorization") != f"Bearer {hub.token}":
                self._json(401, {"error": "Invalid username or password."})
            elif path == "/api/validate-yaml":
                self._json(200, {})
            elif path == "/api/repos/create":
                given = json.loads(body)
                name = f"{given['organization']}/{given['name']}"
                is_new = name not in hub.repositories
                hub.repositories.setdefault(name, Repository())
                self._json(200 if is_new else 409, {"url": f"{hub.url}/{name}", "id": name, "name": name})
            else:
                part = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(preupload|commit|tag)/([^/]+)", path)
                self._change(part[1], part[2], body)

        def do_DELETE(self):
            self._begin()
            part = re.fullmatch(r"/api/models/([^/]+/[^/]+)/tag/([^/]+)", self.path)
            del hub.repositories[part[1]].tags[unquote(part[2])]
            self._json(200, {})

        def _begin(self):
            hub.asked.append(f"{self.command} {self.path}")
            hub.tokens.add(self.headers.get("Authorization"))

        def _json(self, code: int, value: object, **headers: str) -> None:
            content = json.dumps(value).encode()
            self.answer(code, content, Content_Type="application/json", Content_Length=str(len(content)), **headers)

        def _found(self, name: str, revision: str) -> tuple[Repository, int] | None:
            repository = hub.repositories.get(name)
            if repository is None:
                # What it says of what is not there, and of what is not shown.
                self._json(401, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
                return None
            number = repository.number(revision)
            if number is None:
                self._json(404, {"error": "Invalid rev id"}, X_Error_Code="RevisionNotFound")
                return None
            return repository, number

        def _file(self, name: str, revision: str, file: str) -> None:
            if place := self._found(name, revision):
                repository, number = place
                content = repository.commits[number][file]
                headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X_Repo_Commit": _hash(number)}
                self.answer(200, content, Content_Length=str(len(content)), **headers)

        def _about(self, name: str, what: str, revision: str) -> None:
            if place := self._found(name, revision):
                repository, number = place
                files = repository.commits[number]
                answers = {
                    "revision": lambda: {
                        "id": name,
                        "sha": _hash(number),
                        "siblings": [{"rfilename": file, "size": len(files[file])} for file in files],
                    },
                    "tree": lambda: [
                        {
                            "type": "file",
                            "path": file,
                            "size": len(files[file]),
                            "oid": hashlib.sha1(files[file]).hexdigest(),
                        }
                        for file in files
                    ],
                    "refs": lambda: {
                        "branches": [{"name": "main", "ref": "refs/heads/main", "targetCommit": _hash(number)}],
                        "converts": [],
                        "tags": [
                            {"name": tag, "ref": f"refs/tags/{tag}", "targetCommit": _hash(of)}
                            for tag, of in repository.tags.items()
                        ],
                    },
                }
                self._json(200, answers[what]())

        def _change(self, name: str, what: str, body: bytes) -> None:
            repository = hub.repositories[name]
            if what == "preupload":
                asked = json.loads(body)["files"]
                plain = [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False} for file in asked]
                self._json(200, {"files": plain})
            elif what == "tag":
                repository.tags[json.loads(body)["tag"]] = len(repository.commits) - 1
                self._json(200, {})
            else:
                files = dict(repository.commits[-1])
                for line in body.splitlines():
                    change = json.loads(line)
                    if change["key"] == "file":
                        files[change["value"]["path"]] = base64.b64decode(change["value"]["content"])
                    elif change["key"] == "deletedFile":
                        del files[change["value"]["path"]]
                repository.commits.append(files)
                sha = _hash(len(repository.commits) - 1)
                self._json(200, {"commitUrl": f"{hub.url}/{name}/commit/{sha}", "commitOid": sha, "success": True})

    with serving(Handler) as hub.url:
        yield hub
