"""The life of sessions on the bundled local agent, over the wire."""

import concurrent.futures
import io
import json
import os
import subprocess
import tarfile
import tempfile
import time
import unittest

from bai_client import ADMIN, BIN_DIR, USER, Client, Server, create_body


def multipart(files):
    boundary = "----e2eboundary7f3a"
    body = b""
    for name, data in files:
        body += (f"--{boundary}\r\nContent-Disposition: form-data; name=\"src\"; "
                 f"filename=\"{name}\"\r\nContent-Type: application/octet-stream\r\n\r\n"
                 ).encode() + data + b"\r\n"
    return body + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def run_code(client, session, code, mode="query", options=None, inputs=()):
    """Drives execute to the end; the console as text by kind, and the last result."""
    inputs = list(inputs)
    body = {"mode": mode, "code": code, "runId": None, "options": options or {}}
    console = {}
    for _ in range(200):
        answer = client("POST", f"/session/{session}", body)
        assert answer.status == 200, answer
        result = answer.json["result"]
        for kind, text in result["console"] or []:
            console[kind] = console.get(kind, "") + str(text)
        if result["status"] in ("finished", "exec-timeout"):
            return console, result
        if result["status"] == "waiting-input":
            body = {"mode": "input", "code": inputs.pop(0), "runId": result["runId"]}
        else:
            body = {"mode": "continue", "code": "", "runId": result["runId"]}
    raise AssertionError("the run does not end")


class Sessions(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--with-local-agent", config=(
            "[bai.local-agent]\ncpu = '4'\nmem = '4g'\n")).start()
        cls.user = cls.server.client()
        cls.admin = cls.server.client(ADMIN)
        end = time.monotonic() + 20
        while not cls.user("GET", "/cluster/agents?status=ALIVE").json["total"]:
            if time.monotonic() > end:
                raise AssertionError("no agent:\n" + "".join(cls.server.lines))
            time.sleep(0.02)

    @classmethod
    def tearDownClass(cls):
        cls.server.close()

    def directory(self):
        if not hasattr(self, "kept"):
            self.kept = tempfile.TemporaryDirectory(prefix="bai-e2e-")
            self.addCleanup(self.kept.cleanup)
        return self.kept.name

    def create(self, name, **changes):
        answer = self.user("POST", "/session", create_body(name, **changes))
        self.assertEqual(201, answer.status, answer)
        self.addCleanup(self.user, "DELETE", f"/session/{answer.json['sessionId']}?forced=true")
        return answer.json

    def test_create_waits_for_running(self):
        created = self.create("life-wait")
        self.assertEqual(("RUNNING", True, "life-wait"),
                         (created["status"], created["created"], created["sessionName"]))
        self.assertIsInstance(created["servicePorts"], list)
        info = self.user("GET", "/session/life-wait").json
        self.assertEqual({
            "age", "domainName", "groupId", "userId", "lang", "image", "architecture", "registry",
            "tag", "containerId", "occupiedSlots", "occupyingSlots", "requestedSlots",
            "occupiedShares", "environ", "resourceOpts", "status", "statusInfo", "statusData",
            "creationTime", "terminationTime", "numQueriesExecuted", "lastStat", "idleChecks"},
            set(info))
        self.assertEqual("RUNNING", info["status"])
        self.assertEqual({"cpu": "0.5", "mem": str(256 << 20)},
                         json.loads(info["occupyingSlots"]))
        self.assertIsNone(info["terminationTime"])
        history = self.user("GET", "/session/life-wait/status-history").json
        self.assertIn("RUNNING", history)
        self.assertEqual(history["RUNNING"], history["result"]["running"])

    def test_history(self):
        session = self.create("life-history")["sessionId"]
        self.user("DELETE", f"/session/{session}?forced=true")
        items = self.user("GET", f"/session/{session}/history").json["items"]
        self.assertEqual(
            [("schedule-sessions", "PENDING", "SCHEDULED", "SUCCESS"),
             ("start-sessions", "CREATING", "RUNNING", "SUCCESS"),
             ("force_terminate", "RUNNING", "TERMINATED", "SUCCESS")],
            [(i["phase"], i["from_status"], i["to_status"], i["result"]) for i in items])
        times = [i["created_at"] for i in items]
        self.assertEqual(sorted(times), times)

    def test_enqueue_only_then_destroy(self):
        created = self.create("life-enqueue", enqueueOnly=True)
        self.assertEqual("PENDING", created["status"])
        session = created["sessionId"]
        self.user.wait_status(session, "RUNNING")
        match = self.user("GET", "/session/_/match?id=life-enq").json["matches"]
        self.assertEqual([(session, "life-enqueue")], [(m["id"], m["name"]) for m in match])
        answer = self.user("DELETE", f"/session/{session}")
        self.assertEqual(200, answer.status)
        self.assertIn(answer.json["stats"], ({}, {"status": "terminated"}))  # it is on its way
        info = self.user.wait_status(session, "TERMINATED")
        self.assertIsNotNone(info["terminationTime"])
        self.assertEqual(404, self.user("GET", "/session/life-enqueue").status)

    def test_forced_destroy_ends_at_once(self):
        session = self.create("life-forced")["sessionId"]
        answer = self.user("DELETE", f"/session/{session}?forced=true")
        self.assertEqual({"stats": {"status": "terminated"}}, answer.json)
        info = self.user("GET", f"/session/{session}").json
        self.assertEqual(("TERMINATED", "force-terminated"), (info["status"], info["statusInfo"]))
        again = self.user("DELETE", f"/session/{session}?forced=true")
        self.assertEqual((200, {"stats": {}}), (again.status, again.json))

    def test_reuse(self):
        first = self.create("life-reuse")
        again = self.user("POST", "/session", create_body("life-reuse"))
        self.assertEqual((201, False, first["sessionId"]),
                         (again.status, again.json["created"], again.json["sessionId"]))
        self.assertIn("service_ports", again.json)
        for change in ({"reuseIfExists": False}, {"image": "local/shell:latest"}):
            answer = self.user("POST", "/session", create_body("life-reuse", **change))
            self.assertEqual((400, "session-already-exists", "session_create_already-exists"),
                             answer.problem())
            self.assertEqual(first["sessionId"], answer.json["data"]["existingSessionId"])

    def test_execute(self):
        session = self.create("life-exec")["sessionId"]
        console, result = run_code(self.user, session, "print(6 * 7)")
        self.assertEqual("42\n", console["stdout"])
        self.assertEqual("finished", result["status"])
        console, _ = run_code(self.user, session, "x = 5\nraise ValueError('oops')")
        self.assertIn("ValueError: oops", console["stderr"])
        console, _ = run_code(self.user, session, "print(x)")  # state stays
        self.assertEqual("5\n", console["stdout"])
        console, _ = run_code(self.user, session, "name = input('who? ')\nprint('hi', name)",
                              inputs=["Ada"])
        self.assertIn("hi Ada", console["stdout"])
        self.assertGreaterEqual(
            self.user("GET", f"/session/{session}").json["numQueriesExecuted"], 4)

    def test_execute_refusals(self):
        session = self.create("life-refuse")["sessionId"]
        for body, status in (({}, 400), ({"mode": "dance", "code": ""}, 400),
                             ({"mode": "continue", "code": ""}, 400),
                             ({"mode": "query", "code": 5}, 400)):
            self.assertEqual(status, self.user("POST", f"/session/{session}", body).status, body)

    def test_too_many_runs(self):
        session = self.create("life-full")["sessionId"]

        def start(number):
            return self.user("POST", f"/session/{session}", {
                "mode": "query", "code": "import time; time.sleep(20)", "runId": f"run-{number}"})
        with concurrent.futures.ThreadPoolExecutor(70) as threads:
            answers = list(threads.map(start, range(70)))  # one runs and 64 wait
        self.assertEqual({200, 503}, {answer.status for answer in answers})
        refused = [answer for answer in answers if answer.status == 503]
        self.assertEqual((503, "service-unavailable", "backendai_generic_unavailable"),
                         refused[0].problem())
        self.assertIn("64 runs are waiting", refused[0].json["msg"])

    def test_interrupt(self):
        session = self.create("life-interrupt")["sessionId"]
        body = {"mode": "query", "code": "import time\ntime.sleep(60)", "runId": "r1"}
        result = self.user("POST", f"/session/{session}", body).json["result"]
        self.assertEqual("continued", result["status"])
        self.assertEqual(204, self.user("POST", f"/session/{session}/interrupt").status)
        console, result = "", {}
        for _ in range(20):
            result = self.user("POST", f"/session/{session}", {
                "mode": "continue", "code": "", "runId": "r1"}).json["result"]
            console += str(result["console"])
            if result["status"] == "finished":
                break
        self.assertEqual("finished", result["status"])
        self.assertIn("KeyboardInterrupt", console)

    def test_complete(self):
        session = self.create("life-complete")["sessionId"]
        answer = self.user("POST", f"/session/{session}/complete",
                           {"code": "pri", "options": {"row": 0, "col": 3, "line": "pri"}})
        self.assertEqual(200, answer.status, answer)
        self.assertIn("suggestions", answer.json["result"])

    def test_batch(self):
        session = self.create("life-batch", type="batch", enqueueOnly=True,
                              startupCommand="echo from-the-batch; exit 3")["sessionId"]
        self.user.wait_status(session, "TERMINATED")
        logs = self.user("GET", f"/session/{session}/logs").json["result"]["logs"]
        self.assertIn("from-the-batch", logs)
        found = self.admin("POST", "/compute-sessions/search",
                           {"filter": {"name": "life-batch"}}).json["items"]
        self.assertEqual("failure", found[0]["result"])

    def test_files(self):
        session = self.create("life-files")["sessionId"]
        body, content_type = multipart([("a.txt", b"alpha"), ("sub/b.bin", bytes(range(256)))])
        answer = self.user("POST", f"/session/{session}/upload", body, content_type=content_type)
        self.assertEqual(204, answer.status, answer)
        listing = self.user("GET", f"/session/{session}/files").json
        self.assertIn("a.txt", [f["filename"] for f in json.loads(listing["files"])])
        in_body = self.user("GET", f"/session/{session}/files", {"path": "sub"}).json
        self.assertEqual(["b.bin"], [f["filename"] for f in json.loads(in_body["files"])])
        single = self.user("POST", f"/session/{session}/download_single?file=sub/b.bin")
        self.assertEqual(200, single.status, single)
        with tarfile.open(fileobj=io.BytesIO(single.body)) as tar:
            member = tar.getmembers()[0]
            self.assertEqual(bytes(range(256)), tar.extractfile(member).read())
        many = self.user("POST", f"/session/{session}/download?files=a.txt&files=sub/b.bin")
        self.assertEqual(200, many.status)
        self.assertTrue(many.headers["Content-Type"].startswith("multipart/mixed; boundary="))
        self.assertEqual(2, many.body.count(b"application/x-tar"))
        for path in ("../../etc/passwd", "/etc/passwd"):
            answer = self.user("POST", f"/session/{session}/download_single?file={path}")
            self.assertEqual((403, "generic-forbidden"), answer.problem()[:2], path)
        run_code(self.user, session, "import os; os.mkfifo('pipe')")
        for path, status in (("nosuch", 404), ("a.txt/below", 400), ("pipe", 400), ("n" * 300, 400),
                             (".", 400), ("sub", 400)):
            answer = self.user("POST", f"/session/{session}/download_single?file={path}")
            self.assertEqual(status, answer.status, (path, answer))
        for path, status in (("../escape.txt", 403), ("sub", 400), ("a.txt/below", 400)):
            bad, content_type = multipart([(path, b"x")])
            answer = self.user("POST", f"/session/{session}/upload", bad, content_type=content_type)
            self.assertEqual(status, answer.status, (path, answer))
        answer = self.user("POST", f"/session/{session}/upload", b"x", content_type="text/plain")
        self.assertEqual((400, "generic-bad-request"), answer.problem()[:2])

    def test_rename(self):
        session = self.create("life-before")["sessionId"]
        self.assertEqual(204, self.user("POST", f"/session/{session}/rename?name=life-after").status)
        self.assertEqual(200, self.user("GET", "/session/life-after").status)
        answer = self.user("POST", "/session/life-after/rename", {"session_name": "life-later"})
        self.assertEqual(204, answer.status)
        self.create("life-other")
        answer = self.user("POST", "/session/life-later/rename?name=life-other")
        self.assertEqual(400, answer.status)
        self.assertEqual(400, self.user("POST", f"/session/{session}/rename?name=x").status)
        self.assertEqual(400, self.user("POST", f"/session/{session}/rename").status)

    def test_pending_says_why(self):
        session = self.create("life-large", enqueueOnly=True,
                              config={"resources": {"cpu": "100", "mem": "256m"}})["sessionId"]
        end = time.monotonic() + 10
        while "pending" not in (info := self.user("GET", f"/session/{session}").json)["statusData"]:
            self.assertLess(time.monotonic(), end)
            time.sleep(0.02)
        why = self.user("GET", f"/session/{session}/why").json
        self.assertTrue(why["pending"]["message"])
        self.assertFalse(why["starts_now"])
        self.assertEqual(("PENDING", why["pending"]["message"]),
                         (info["status"], info["statusInfo"]))
        self.assertIn("pending", info["statusData"])
        answer = self.user("DELETE", f"/session/{session}")
        self.assertEqual({"stats": {"status": "cancelled"}}, answer.json)

    def test_what_if(self):
        body = create_body("life-maybe")
        yes = self.user("POST", "/session/_/what-if", body)
        self.assertEqual(200, yes.status)
        self.assertTrue(yes.json["starts_now"], yes.json)
        self.assertEqual(["main1"], list(yes.json["agents"]))
        large = create_body("life-maybe", config={"resources": {"cpu": "100", "mem": "256m"}})
        no = self.user("POST", "/session/_/what-if", large).json
        self.assertFalse(no["starts_now"])
        self.assertTrue(no["pending"]["message"])
        agents = [{"id": "i-supposed", "resource_group": "default", "architecture": "x86_64",
                   "available_slots": {"cpu": "128", "mem": "64g"}}]
        self.assertEqual(403, self.user("POST", "/session/_/what-if", large | {"agents": agents}).status)
        supposed = self.admin("POST", "/session/_/what-if", large | {"agents": agents})
        self.assertEqual(200, supposed.status, supposed.json)
        self.assertEqual({"main1": "i-supposed"}, supposed.json["agents"])
        unknown = self.admin("POST", "/session/_/what-if", large | {"new_agents": agents})
        self.assertEqual((400, True), (unknown.status, "new_agents" in unknown.json["msg"]), unknown.json)
        inside = create_body("life-maybe", config={"resources": {"cpu": "1", "mem": "256m"}, "resource": {}})
        unknown = self.user("POST", "/session/_/what-if", inside)
        self.assertEqual((400, True), (unknown.status, "config.resource." in unknown.json["msg"]), unknown.json)
        self.assertEqual(404, self.user("GET", "/session/life-maybe").status)

    def test_what_if_on_the_command_line(self):
        agents = os.path.join(self.directory(), "agents.json")
        with open(agents, "w", encoding="utf-8") as out:
            json.dump([{"id": "i-supposed", "resource_group": "default", "architecture": "x86_64",
                        "available_slots": {"cpu": "128", "mem": "64g"}}], out)

        def ask(keys, *arguments):
            environ = {**os.environ, "BACKEND_ENDPOINT": f"http://127.0.0.1:{self.server.port}",
                       "BACKEND_ACCESS_KEY": keys[0], "BACKEND_SECRET_KEY": keys[1],
                       "BAICTL_CONFIG": os.path.join(self.directory(), "none.json")}
            return subprocess.run([os.path.join(BIN_DIR, "baictl"), "what-if", *arguments], env=environ,
                                  capture_output=True, text=True, timeout=20, check=False)

        yes = ask(USER, "-r", "cpu=1", "-r", "mem=256m")
        self.assertEqual((0, "It would start now."), (yes.returncode, yes.stdout.splitlines()[0]), yes)
        large = ("-r", "cpu=100", "-r", "mem=256m")
        no = ask(USER, *large)
        self.assertEqual((0, "It would not start now."), (no.returncode, no.stdout.splitlines()[0]), no)
        self.assertRegex(no.stdout, r"expected start +unknown: none of resource group default is large enough")
        self.assertNotRegex(no.stdout, r"(?m)^if ")
        supposed = ask(ADMIN, *large, "--agents", agents, "--json")
        self.assertEqual({"main1": "i-supposed"}, json.loads(supposed.stdout)["agents"], supposed)
        self.assertNotEqual(0, ask(USER, *large, "--agents", agents).returncode)
        self.assertNotEqual(0, ask(USER, *large, "--agents", agents + ".none").returncode)

    def test_wait_runs_out(self):
        answer = self.user("POST", "/session", create_body(
            "life-timeout", maxWaitSeconds=1,
            config={"resources": {"cpu": "100", "mem": "256m"}}))
        self.assertEqual((201, "TIMEOUT"), (answer.status, answer.json["status"]))
        self.user("DELETE", "/session/life-timeout")

    def test_others_sessions(self):
        admins = self.admin("POST", "/session", create_body("life-admins", enqueueOnly=True)).json
        session = admins["sessionId"]
        self.addCleanup(self.admin, "DELETE", f"/session/{session}?forced=true")
        for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/logs")):
            self.assertIn(self.user(method, f"/session/{session}{path}").status, (403, 404))
        self.assertEqual(404, self.user("GET", "/session/life-admins").status)
        mine = self.create("life-mine", enqueueOnly=True)["sessionId"]
        self.assertEqual(200, self.admin("GET", f"/session/{mine}").status)
        listed = self.user("POST", "/cluster/sessions/search", {}).json["items"]
        self.assertIn(mine, [item["id"] for item in listed])
        self.assertNotIn(session, [item["id"] for item in listed])

    def test_search_pages(self):
        ids = [self.create(f"page-{i}", enqueueOnly=True,
                           config={"resources": {"cpu": "100", "mem": "256m"}})["sessionId"]
               for i in range(5)]
        search = lambda **more: self.admin("POST", "/compute-sessions/search", {
            "filter": {"name": {"starts_with": "page-"}, "status": ["PENDING"]},
            "order": [{"field": "created_at", "direction": "asc"}], **more}).json
        first = search(limit=2)
        self.assertEqual(5, first["pagination"]["total"])
        rest = search(limit=10, offset=2)
        self.assertEqual(ids, [i["id"] for i in first["items"] + rest["items"]])
        self.assertEqual([], search(offset=99)["items"])

    def test_slots(self):
        for resources, status in (({"cpu": "1"}, 201), ({}, 201), ({"cuda.device": "1"}, 400),
                                  ({"cpu": "1", "mem": "1k"}, 400)):
            answer = self.user("POST", "/session", create_body(
                "life-slots", enqueueOnly=True, config={"resources": resources}))
            self.assertEqual(status, answer.status, (resources, answer))
            if status == 201:
                session = answer.json["sessionId"]
                self.user("DELETE", f"/session/{session}?forced=true")
                self.user.wait_status(session, {"TERMINATED", "CANCELLED"})


class Restart(unittest.TestCase):
    def test_kernels_outlive_the_server(self):
        config = "[bai.local-agent]\ncpu = '2'\nmem = '2g'\n"
        with Server("--with-local-agent", config=config) as server:
            user = server.client()
            while not user("GET", "/cluster/agents?status=ALIVE").json["total"]:
                time.sleep(0.02)
            session = user("POST", "/session", create_body("outlive")).json["sessionId"]
            run_code(user, session, "kept = 'still here'")
            for how in (server.kill, server.stop):
                how()
                server.start()
                user = Client(server.port)
                end = time.monotonic() + 20
                while True:
                    self.assertEqual("RUNNING", user("GET", f"/session/{session}").json["status"])
                    answer = user("POST", f"/session/{session}",
                                  {"mode": "query", "code": "print(kept)"})
                    if answer.status == 200:
                        break
                    self.assertLess(time.monotonic(), end, answer)
                    time.sleep(0.1)
                self.assertIn("still here", str(answer.json["result"]["console"]))
            user("DELETE", f"/session/{session}")
            user.wait_status(session, "TERMINATED")


if __name__ == "__main__":
    unittest.main()
