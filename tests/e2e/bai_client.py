"""An independent client of the wire and a harness for the server, standard library only."""

import contextlib
import datetime
import hashlib
import hmac
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time

VERSION = "v9.20250722"
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
BIN_DIR = os.environ.get("BAI_BIN_DIR", "build/dev/bin")
SOURCE_DIR = os.environ.get(
    "BAI_SOURCE_DIR", os.path.join(os.path.dirname(__file__), "..", ".."))
FIXTURE = os.path.join(SOURCE_DIR, "examples", "fixture.json")
ADMIN = ("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
USER = ("AKIANABBDUSEREXAMPLE", "C8qnIo29EZvXkPK_MXcuAakYTy4NYrxwmCEyNPlf")


def _hmac(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256)


def signature(secret, method, target, date, host, content_type, version=VERSION):
    """Hex signature of a request; `date` is the literal ISO-8601 text."""
    text = "\n".join([
        method, target, date, "host:" + host, "content-type:" + content_type,
        "x-backendai-version:" + version, EMPTY_SHA256])
    day = date[:10].replace("-", "")
    key = _hmac(_hmac(secret.encode(), day).digest(), host).digest()
    return _hmac(key, text).hexdigest()


def now_text(offset_s=0):
    now = datetime.datetime.now(datetime.timezone.utc)
    return (now + datetime.timedelta(seconds=offset_s)).isoformat()


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body) if self.body else None

    def problem(self):
        """(status, slug, error_code) of an error body."""
        data = self.json
        return (self.status, data["type"].rsplit("/", 1)[1], data.get("error_code"))

    def __repr__(self):
        return f"{self.status} {self.body[:500]!r}"


class Client:
    def __init__(self, port, keys=USER, host="127.0.0.1"):
        self.host, self.port, self.keys = host, port, keys
        self.authority = f"{host}:{port}"

    def headers(self, method, target, content_type, date=None, version=VERSION):
        access, secret = self.keys
        date = date or now_text()
        sign = signature(secret, method, target, date, self.authority, content_type, version)
        return {
            "Date": date, "X-BackendAI-Version": version, "Content-Type": content_type,
            "Authorization":
                f"BackendAI signMethod=HMAC-SHA256, credential={access}:{sign}"}

    def raw(self, method, target, headers=None, body=b""):
        connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
        try:
            connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            sent = {"Host": self.authority, "Content-Length": str(len(body)), **(headers or {})}
            for name, value in sent.items():
                if value is not None:
                    connection.putheader(name, value)
            connection.endheaders(body)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def __call__(self, method, target, body=None, content_type=None, extra=None, **signing):
        if body is None:
            data, content_type = b"", content_type or "text/plain"
        elif isinstance(body, (bytes, bytearray)):
            data, content_type = bytes(body), content_type or "application/json"
        else:
            data, content_type = json.dumps(body).encode(), content_type or "application/json"
        media = content_type.split(";")[0].strip().lower()
        headers = self.headers(method, target, media, **signing)
        headers["Content-Type"] = content_type
        headers.update(extra or {})
        return self.raw(method, target, headers, data)

    def wait_status(self, session, wanted, seconds=30):
        """Polls the session until it has one of the statuses; its info."""
        wanted = {wanted} if isinstance(wanted, str) else set(wanted)
        end = time.monotonic() + seconds
        while True:
            info = self("GET", f"/session/{session}").json
            if info.get("status") in wanted:
                return info
            if time.monotonic() > end:
                raise AssertionError(f"{session} is not {wanted} but {info}")
            time.sleep(0.02)


class Server:
    """bai-manager-server on free ports with a directory of its own."""

    def __init__(self, *arguments, fixture=FIXTURE, config=None, data=None,
                 event_listen="tcp://127.0.0.1:*"):
        self.directory = data or tempfile.mkdtemp(prefix="bai-e2e-")
        self.owns_directory = data is None
        self.arguments = list(arguments)
        self.fixture = fixture
        self.config = config
        self.event_listen = event_listen
        self.lines = []
        self.process = None

    def start(self, seconds=20):
        command = [
            os.path.join(BIN_DIR, "bai-manager-server"), "serve", "--data", self.directory,
            "--listen", "127.0.0.1:0", "--internal-listen", "127.0.0.1:0",
            "--event-listen", self.event_listen]
        if self.fixture:
            command += ["--fixture", self.fixture]
        if self.config is not None:
            path = os.path.join(self.directory, "server.toml")
            with open(path, "w", encoding="utf-8") as out:
                out.write(self.config)
            command += ["--config", path]
        began = time.monotonic()
        previous = self.process
        self.process = subprocess.Popen(
            command + self.arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            text=True, start_new_session=True)
        self.close_pipe(previous)
        self.lines = []
        self.ready = threading.Event()
        self.port = self.internal_port = None
        self.event_addr = None
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        if not self.ready.wait(seconds) or not self.port:
            self.kill()
            raise AssertionError("the server does not start:\n" + "".join(self.lines))
        self.started_in = time.monotonic() - began
        return self

    def _read(self):
        for line in self.process.stderr:
            self.lines.append(line)
            if found := re.search(r"listening on https?://.*:(\d+)", line):
                self.port = int(found[1])
            elif found := re.search(r"metrics on http://.*:(\d+)/metrics", line):
                self.internal_port = int(found[1])
            elif found := re.search(r"agents' events on (\S+)", line):
                self.event_addr = found[1]
                self.ready.set()
        self.ready.set()

    def client(self, keys=USER):
        return Client(self.port, keys)

    def internal(self):
        return Client(self.internal_port, ("", ""))

    def stop(self, seconds=20):
        """SIGTERM; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def end_kernels(self):
        """Ends the supervisors of kernels that outlived the server; only those of this directory."""
        for entry in os.listdir("/proc"):
            if not entry.isdigit():
                continue
            with contextlib.suppress(OSError):
                with open(f"/proc/{entry}/cmdline", "rb") as file:
                    if os.path.join(self.directory, "kernels").encode() in file.read():
                        os.kill(int(entry), signal.SIGKILL)

    def close(self):
        self.kill()
        self.end_kernels()
        self.close_pipe(self.process)
        if self.owns_directory:
            shutil.rmtree(self.directory, ignore_errors=True)

    def close_pipe(self, process):
        if process and process.stderr:
            self.reader.join(5)
            process.stderr.close()

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.close()


def create_body(session, /, **changes):
    """A session as the SDK asks for it; None removes nothing, it is sent as null."""
    body = {
        "name": session, "image": "local/python:3", "type": "interactive", "tag": None,
        "architecture": "x86_64", "domain": "default", "group": "default", "clusterSize": 1,
        "clusterMode": "single-node", "enqueueOnly": False, "maxWaitSeconds": 0,
        "reuseIfExists": True, "startupCommand": None, "dependencies": None,
        "callback_url": None, "starts_at": None, "bootstrap_script": None,
        "owner_access_key": None,
        "config": {"resources": {"cpu": "0.5", "mem": "256m"}, "environ": None, "mounts": [],
                   "scalingGroup": None, "preopen_ports": None, "resource_opts": {}}}
    config = changes.pop("config", {})
    body.update(changes)
    if isinstance(config, dict):
        body["config"].update(config)
    else:
        body["config"] = config
    return body


def baictl(*words, port=None, keys=USER, seconds=60, stdin=None, **environ):
    """Runs baictl to its end; with `port`, signed in at that server. `environ` adds variables."""
    environ = {**os.environ, "BAICTL_CONFIG": "/nonexistent/baictl.json", **environ}
    if port:
        environ.update(BACKEND_ENDPOINT=f"http://127.0.0.1:{port}", BACKEND_ACCESS_KEY=keys[0],
                       BACKEND_SECRET_KEY=keys[1])
    return subprocess.run([os.path.join(BIN_DIR, "baictl"), *words], env=environ, input=stdin,
                          capture_output=True, text=True, timeout=seconds, check=False)
