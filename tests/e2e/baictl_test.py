"""The command-line client against a real server with its local agent."""

import http.server
import json
import os
import pty
import re
import signal
import subprocess
import tempfile
import threading
import time
import unittest

from bai_client import ADMIN, BIN_DIR, USER, Server, baictl, create_body

SMALL = ("-r", "cpu=0.5", "-r", "mem=192m")


def wait_for_agent(server):
    user, end = server.client(), time.monotonic() + 20
    while not user("GET", "/cluster/agents?status=ALIVE").json["total"]:
        if time.monotonic() > end:
            raise AssertionError("no agent:\n" + "".join(server.lines))
        time.sleep(0.02)


class Baictl(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--with-local-agent",
                            config="[bai.local-agent]\ncpu = '2'\nmem = '2g'\n").start()
        cls.user = cls.server.client()
        wait_for_agent(cls.server)

    @classmethod
    def tearDownClass(cls):
        cls.server.close()

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="bai-baictl-")
        self.addCleanup(self.folder.cleanup)

    def tearDown(self):
        for session in self.live():
            self.user("DELETE", f"/session/{session['id']}?forced=true")

    def live(self):
        items = self.user("POST", "/cluster/sessions/search", {"limit": 100}).json["items"]
        return [i for i in items if i["status"] not in ("TERMINATED", "CANCELLED", "ERROR")]

    def ctl(self, *words, code=0, **more):
        result = baictl(*words, port=self.server.port, **more)
        self.assertEqual(code, result.returncode, result)
        return result

    def requests(self, endpoint):
        """How many the server has answered, of any method and status."""
        text = self.server.internal().raw("GET", "/metrics").body.decode()
        return sum(int(float(count)) for count in re.findall(
            r'backendai_api_request_count_total\{[^}]*endpoint="' + re.escape(endpoint) +
            r'"[^}]*\} (\S+)', text))

    def write(self, name, text):
        path = os.path.join(self.folder.name, name)
        with open(path, "w", encoding="utf-8") as out:
            out.write(text)
        return path

    # ---- run

    def test_run_passes_output_and_exit_code_through(self):
        result = self.ctl("run", *SMALL, "-c", "print(6 * 7)")
        self.assertEqual("42\n", result.stdout)
        program = self.write("program.py", "import sys\nprint('to the end')\n"
                                           "print('and out', file=sys.stderr)\nsys.exit(7)\n")
        result = self.ctl("run", *SMALL, program, code=7)
        self.assertEqual("to the end\n", result.stdout)
        self.assertIn("and out", result.stderr)
        self.assertEqual("typed\n", self.ctl("run", *SMALL, "-", stdin="print('typed')").stdout)
        end = time.monotonic() + 10
        while self.live():
            self.assertLess(time.monotonic(), end, self.live())
            time.sleep(0.05)

    def test_run_as_json(self):
        result = json.loads(self.ctl("run", *SMALL, "--json", "-c", "print('x'); exit(3)",
                                     code=3).stdout)
        self.assertEqual(3, result["exit_code"])
        self.assertIn(["stdout", "x\n"], result["console"])
        self.assertTrue(result["session_id"] and result["session_name"])

    def test_run_keeps_on_request(self):
        result = self.ctl("run", *SMALL, "--keep", "-t", "kept-one", "-c", "x = 1")
        self.assertIn("baictl session rm kept-one", result.stderr)
        self.assertEqual(["kept-one"], [s["name"] for s in self.live()])

    def test_run_waits_with_few_requests(self):
        self.ctl("session", "create", "-t", "filler", "-r", "cpu=2", "-r", "mem=192m")
        before = [self.requests(e) for e in ("/session", "/session/{session}")]
        answers = []
        runner = threading.Thread(target=lambda: answers.append(
            baictl("run", *SMALL, "-c", "print('at last')", port=self.server.port)))
        runner.start()
        time.sleep(4)
        after = [self.requests(e) for e in ("/session", "/session/{session}")]
        self.assertEqual(1, after[0] - before[0], "it is created once")
        self.assertLess(after[1] - before[1], 10)
        self.ctl("session", "rm", "filler")
        runner.join(30)
        self.assertEqual((0, "at last\n"), (answers[0].returncode, answers[0].stdout), answers)
        self.assertRegex(answers[0].stderr, r"(?m)^queued \(PENDING\): \S.*$")

    def test_run_leaves_a_session_of_that_name_alone(self):
        self.ctl("session", "create", "-t", "precious", *SMALL)
        self.ctl("session", "exec", "precious", "-c", "treasure = 'gold'")
        result = self.ctl("run", *SMALL, "-t", "precious", "-c", "print('taken over')", code=1)
        self.assertNotIn("taken over", result.stdout)
        self.assertIn("-t", result.stderr)
        self.assertEqual("gold\n", self.ctl("session", "exec", "precious", "-c",
                                            "print(treasure)").stdout)

    def test_run_does_not_submit_again_what_ended(self):
        self.ctl("session", "create", "-t", "filler", "-r", "cpu=2", "-r", "mem=192m")
        answers = []
        runner = threading.Thread(target=lambda: answers.append(baictl(
            "run", *SMALL, "-t", "given-up", "-c", "print('never')", port=self.server.port)))
        runner.start()
        end = time.monotonic() + 10
        while "given-up" not in [s["name"] for s in self.live()]:
            self.assertLess(time.monotonic(), end)
            time.sleep(0.05)
        self.ctl("session", "rm", "given-up")
        runner.join(20)
        self.assertEqual((1, ""), (answers[0].returncode, answers[0].stdout), answers)
        self.assertIn("ended before it ran: CANCELLED (user-requested)", answers[0].stderr)
        listed = json.loads(self.ctl("session", "ls", "--all", "--json").stdout)
        self.assertEqual(1, sum(s["name"] == "given-up" for s in listed))

    def test_run_interrupted_while_it_waits(self):
        self.ctl("session", "create", "-t", "filler", "-r", "cpu=2", "-r", "mem=192m")
        environ = {**os.environ, "BACKEND_ENDPOINT": f"http://127.0.0.1:{self.server.port}",
                   "BACKEND_ACCESS_KEY": USER[0], "BACKEND_SECRET_KEY": USER[1]}
        runner = subprocess.Popen(
            [os.path.join(BIN_DIR, "baictl"), "run", *SMALL, "-t", "broken-off", "-c", "1"],
            env=environ, stderr=subprocess.PIPE, text=True)
        self.addCleanup(runner.stderr.close)
        self.assertIn("queued", runner.stderr.readline())
        runner.send_signal(signal.SIGINT)
        self.assertEqual(1, runner.wait(10))
        self.assertEqual(["filler"], [s["name"] for s in self.live()])

    # ---- sessions

    def test_create_list_show_and_remove(self):
        result = self.ctl("session", "create", "-t", "listed", *SMALL)
        self.assertRegex(result.stdout, r"^[0-9a-f-]{36} listed \(RUNNING\)\n$")
        created = self.ctl("session", "create", "-t", "listed", *SMALL, "--json").stdout
        self.assertFalse(json.loads(created)["created"])
        lines = self.ctl("session", "ls").stdout.splitlines()
        self.assertEqual(["NAME", "STATUS", "TYPE", "IMAGE", "RESOURCES", "AGE", "INFO"],
                         lines[0].split())
        self.assertRegex(lines[1], r"^listed  RUNNING  interactive  local/python:3  cpu 0.5, mem 192m")
        self.assertEqual("listed", json.loads(self.ctl("session", "ls", "--json").stdout)[0]["name"])
        self.assertRegex(self.ctl("session", "info", "listed").stdout, r"(?m)^status +RUNNING$")
        self.assertEqual("RUNNING", json.loads(
            self.ctl("session", "info", "listed", "--json").stdout)["status"])
        self.assertIn("listed is RUNNING", self.ctl("session", "why", "listed").stdout)
        self.assertEqual("RUNNING", json.loads(
            self.ctl("session", "why", "listed", "--json").stdout)["status"])
        self.assertEqual("listed: terminating\n", self.ctl("session", "rm", "listed").stdout)
        self.user.wait_status(json.loads(created)["sessionId"], "TERMINATED")
        self.assertEqual(1, len(self.ctl("session", "ls").stdout.splitlines()))
        self.assertRegex(self.ctl("session", "ls", "-a").stdout, r"(?m)^listed +TERMINATED ")

    def test_list_asks_for_every_live_status(self):
        asked = []

        class Listener(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                body = b'{"items": [], "pagination": {"total": 0}}'
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        with http.server.HTTPServer(("127.0.0.1", 0), Listener) as listener:
            thread = threading.Thread(target=listener.handle_request)
            thread.start()
            result = baictl("session", "ls", port=listener.server_port)
            thread.join(10)
        self.assertEqual(0, result.returncode, result)
        self.assertEqual({"PENDING", "DEPRIORITIZING", "RESERVED", "SCHEDULED", "PREPARING",
                          "PULLING", "PREPARED", "CREATING", "RUNNING", "RESTARTING",
                          "RUNNING_DEGRADED", "PREEMPTED", "RESCHEDULING", "TERMINATING"},
                         set(asked[0]["filter"]["status"]))
        # ... and the real server takes them all
        self.ctl("session", "create", "-t", "waiting", "-r", "cpu=50", "-r", "mem=192m",
                 "--enqueue-only")
        self.assertRegex(self.ctl("session", "ls").stdout, r"(?m)^waiting +PENDING ")

    def test_remove_as_json_and_the_unknown(self):
        self.ctl("session", "create", "-t", "goner", *SMALL)
        result = self.ctl("session", "rm", "-f", "goner", "nosuch", "--json", code=1)
        self.assertEqual({"goner": "terminated"}, json.loads(result.stdout))
        self.assertIn("error: No such session.", result.stderr)
        self.assertIn("baictl session ls --all", result.stderr)

    def test_exec_and_logs(self):
        self.ctl("session", "create", "-t", "worker", *SMALL)
        self.assertEqual("5\n", self.ctl("session", "exec", "worker", "-c", "print(2 + 3)").stdout)
        self.ctl("session", "exec", "worker", "-c", "exit(9)", code=9)
        result = json.loads(self.ctl("session", "exec", "worker", "--json", "-c",
                                     "print('hello')").stdout)
        self.assertEqual((0, [["stdout", "hello\n"]]), (result["exit_code"], result["console"]))
        self.ctl("session", "create", "local/shell:latest", "-t", "printer", *SMALL, "--type",
                 "batch", "--startup-command", "echo on the console", "--enqueue-only")
        session = [s for s in self.user("POST", "/cluster/sessions/search", {}).json["items"]
                   if s["name"] == "printer"][0]["id"]
        self.user.wait_status(session, "TERMINATED")
        self.assertIn("on the console\n", self.ctl("session", "logs", session).stdout)
        self.assertIn("on the console\n", json.loads(
            self.ctl("session", "logs", session, "--json").stdout)["logs"])

    def test_why(self):
        self.ctl("session", "create", "-t", "too-large", "-r", "cpu=50", "-r", "mem=192m",
                 "--enqueue-only")
        text = self.ctl("session", "why", "too-large").stdout
        self.assertIn("too-large is PENDING", text)
        self.assertIn("reason", text)
        again = self.ctl("why", "too-large", "--json").stdout
        self.assertEqual("PENDING", json.loads(again)["status"])

    def test_agents(self):
        lines = self.ctl("agent", "ls").stdout.splitlines()
        self.assertEqual(["ID", "STATUS", "GROUP", "ARCH", "KERNELS", "IN", "USE", "CAPACITY"],
                         lines[0].split())
        self.assertRegex(lines[1], r"^i-local  ALIVE   default .* cpu 2, mem 2g$")
        items = json.loads(self.ctl("agent", "ls", "--json").stdout)
        self.assertEqual(["i-local"], [item["id"] for item in items])

    # ---- what goes wrong

    def test_exit_statuses(self):
        for words in ((), ("fly",), ("run",), ("run", "-c", "1", "file.py"),
                      ("run", "/no/such/file.py"), ("session", "create", "-r", "cpu")):
            self.ctl(*words, code=2)
        self.ctl("session", "info", "nosuch", code=1)
        result = baictl("agent", "ls", BACKEND_ENDPOINT="http://127.0.0.1:1",
                        BACKEND_ACCESS_KEY=USER[0], BACKEND_SECRET_KEY=USER[1])
        self.assertEqual(3, result.returncode)
        self.assertIn("Is the server running?", result.stderr)
        result = baictl("agent", "ls", BACKEND_ENDPOINT="127.0.0.1:1",
                        BACKEND_ACCESS_KEY=USER[0], BACKEND_SECRET_KEY=USER[1])
        self.assertEqual(2, result.returncode)
        self.assertIn("should be http://host:port", result.stderr)
        result = self.ctl("agent", "ls", keys=(USER[0], "wrong"), code=4)
        self.assertIn("baictl login", result.stderr)
        self.ctl("reservation", "create", "mine", "-a", "i-local:cpu=1", "-o", "domain/default",
                 "--from", "2026-01-01T00:00:00Z", "--to", "2126-01-01T00:00:00Z", code=4)
        result = baictl("agent", "ls", HOME=self.folder.name)
        self.assertEqual(4, result.returncode)
        self.assertIn("baictl login --endpoint", result.stderr)

    # ---- login

    def login(self, config, *words):
        return baictl("login", "--endpoint", f"http://127.0.0.1:{self.server.port}",
                      "--access-key", USER[0], *words, BAICTL_CONFIG=config)

    def test_login_is_remembered_and_private(self):
        config = os.path.join(self.folder.name, "deep", "config.json")
        result = self.login(config, "--secret-key", "wrong")
        self.assertEqual(4, result.returncode)
        self.assertFalse(os.path.exists(config))
        result = self.login(config, "--secret-key", USER[1])
        self.assertEqual(0, result.returncode, result)
        self.assertIn(config, result.stdout)
        self.assertEqual(0o600, os.stat(config).st_mode & 0o777)
        self.assertEqual(0, baictl("agent", "ls", BAICTL_CONFIG=config).returncode)
        # what cannot be written is no missing server
        result = self.login("/proc/no/config.json", "--secret-key", USER[1])
        self.assertEqual(1, result.returncode, result)

    def test_login_does_not_show_the_secret(self):
        config = os.path.join(self.folder.name, "config.json")
        child, terminal = pty.fork()
        if child == 0:
            os.environ["BAICTL_CONFIG"] = config
            program = os.path.join(BIN_DIR, "baictl")
            os.execv(program, [program, "login", "--endpoint",
                               f"http://127.0.0.1:{self.server.port}", "--access-key", USER[0]])
        shown = b""
        while b"Secret key: " not in shown:
            shown += os.read(terminal, 100)
        time.sleep(0.3)
        os.write(terminal, USER[1].encode() + b"\n")
        try:
            while piece := os.read(terminal, 100):
                shown += piece
        except OSError:  # it has ended
            pass
        self.assertEqual(0, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), shown)
        os.close(terminal)
        self.assertNotIn(USER[1].encode(), shown)
        self.assertIn(b"Logged in", shown)


class Encrypted(unittest.TestCase):
    def test_https(self):
        with tempfile.TemporaryDirectory(prefix="bai-baictl-") as folder:
            cert, key = os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem")
            subprocess.run(
                ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key,
                 "-out", cert, "-days", "1", "-subj", "/CN=127.0.0.1", "-addext",
                 "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
            with Server(config=f"[manager]\nssl-enabled = true\nssl-cert = '{cert}'\n"
                               f"ssl-privkey = '{key}'\n") as server:
                ask = {"BACKEND_ENDPOINT": f"https://127.0.0.1:{server.port}",
                       "BACKEND_ACCESS_KEY": ADMIN[0], "BACKEND_SECRET_KEY": ADMIN[1]}
                result = baictl("agent", "ls", **ask)  # nobody vouches for it
                self.assertEqual(3, result.returncode, result)
                self.assertIn("--ca-cert", result.stderr)
                result = baictl("agent", "ls", BAICTL_CA_CERT=cert, **ask)
                self.assertEqual(0, result.returncode, result)
                config = os.path.join(folder, "config.json")
                result = baictl("login", "--endpoint", ask["BACKEND_ENDPOINT"], "--access-key",
                                ADMIN[0], "--secret-key", ADMIN[1], "--ca-cert", cert,
                                BAICTL_CONFIG=config)
                self.assertEqual(0, result.returncode, result)
                self.assertEqual(0, baictl("agent", "ls", BAICTL_CONFIG=config).returncode)


if __name__ == "__main__":
    unittest.main()
