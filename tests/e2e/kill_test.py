"""kill -9 of the server at random moments under load: nothing lost, nothing twice, nothing leaked.

Three groups of agents take the work: `default` the agent inside the server (it dies with it and
re-attaches to its kernels), `apart` a bai-local-agent of its own (it lives on), `sims` simulated
ones. BAI_KILLS says how often (20; 200 with BAI_SOAK=1), BAI_SEED repeats the choices of a run.
"""

import collections
import contextlib
import http.client
import json
import os
import random
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest

from bai_client import ADMIN, BIN_DIR, FIXTURE, USER, Client, Server, create_body

SOAK = os.environ.get("BAI_SOAK", "0") == "1"
KILLS = int(os.environ.get("BAI_KILLS", "200" if SOAK else "20"))
SEED = int(os.environ.get("BAI_SEED", str(time.time_ns() % 1_000_000)))
GROUPS = ("default", "apart", "sims")
WORKERS = 3
OPEN_MAX = {"default": 6, "apart": 6, "sims": 60}  # unended sessions that the load keeps
QUIET_SECONDS = int(os.environ.get("BAI_QUIET_SECONDS", "180" if SOAK else "60"))
ENDED = {"TERMINATED", "CANCELLED"}
NETWORK_ERRORS = (OSError, http.client.HTTPException, ValueError)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def write_fixture(path):
    with open(FIXTURE, encoding="utf-8") as file:
        fixture = json.load(file)
    fixture["keypair_resource_policies"][0]["max_concurrent_sessions"] = 0
    group = fixture["resource_groups"][0]
    group["queue_discipline"] = "skip-ahead"
    grant = fixture["resource_group_grants"][0]
    for name in GROUPS[1:]:
        fixture["resource_groups"].append({**group, "name": name, "is_default": False})
        fixture["resource_group_grants"].append({**grant, "resource_group": name})
    with open(path, "w", encoding="utf-8") as file:
        json.dump(fixture, file)


class Ledger:
    """What the clients know: what was promised to them. Guarded by its lock."""

    def __init__(self):
        self.lock = threading.Lock()
        self.accepted = {}  # name -> session id, of every 201
        self.group = {}  # name -> group, of every attempt
        self.batch = set()  # names
        self.unended = collections.defaultdict(list)  # group -> names
        self.destroyed = set()  # names whose DELETE was answered with 200
        self.unknown = 0  # requests without an answer


class Load(threading.Thread):
    """Submits and destroys sessions at whatever server is there."""

    def __init__(self, number, server, ledger, markers, stop, pause):
        super().__init__(daemon=True)
        self.random = random.Random(SEED * 100 + number)
        self.number, self.server, self.ledger = number, server, ledger
        self.markers, self.stop_event, self.pause, self.problem = markers, stop, pause, None

    def run(self):
        serial = 0
        while not self.stop_event.is_set():
            port = self.server.port
            if not port or self.pause.is_set():
                time.sleep(0.005)
                continue
            try:
                group = self.random.choices(GROUPS, (2, 2, 6))[0]
                with self.ledger.lock:
                    is_full = len(self.ledger.unended[group]) >= OPEN_MAX[group]
                if is_full or self.random.random() < 0.15:
                    self.destroy_one(Client(port), group)
                else:
                    serial += 1
                    self.submit(Client(port), group, f"kill-{self.number}-{serial}")
            except NETWORK_ERRORS:
                self.ledger.unknown += 1
                time.sleep(0.005)
            except BaseException as error:  # whatever it is, the test must hear of it
                self.problem = error
                return

    def submit(self, client, group, name):
        is_batch = self.random.random() < 0.6
        changes = {"enqueueOnly": True, "config": {
            "resources": {"cpu": "0.5", "mem": "256m"}, "scalingGroup": group}}
        if is_batch:
            nap = self.random.choice((0, 0, 0.2, 0.8))
            changes.update(type="batch", image="local/shell:latest",
                           startupCommand=f"echo ran >> {self.markers}/{name}; sleep {nap}")
        with self.ledger.lock:
            self.ledger.group[name] = group
            if is_batch:
                self.ledger.batch.add(name)
        answer = client("POST", "/session", create_body(name, **changes))
        if answer.status == 503:  # the server is on its way
            return
        assert answer.status == 201, answer
        with self.ledger.lock:
            self.ledger.accepted[name] = answer.json["sessionId"]
            self.ledger.unended[group].append(name)
        if group != "sims":
            time.sleep(0.05)  # every kernel is a process

    def destroy_one(self, client, group):
        with self.ledger.lock:
            names = self.ledger.unended[group]
            if not names:
                return
            name = names.pop(self.random.randrange(len(names)))
            session = self.ledger.accepted[name]
        answer = client("DELETE", f"/session/{session}")
        assert answer.status in (200, 404, 503), answer  # 404: it had ended by itself
        if answer.status == 200:
            with self.ledger.lock:
                self.ledger.destroyed.add(name)


class KillTest(unittest.TestCase):
    def setUp(self):
        self.random = random.Random(SEED)
        self.folder = tempfile.TemporaryDirectory(prefix="bai-kill-")
        self.addCleanup(self.folder.cleanup)
        self.markers = os.path.join(self.folder.name, "markers")
        os.mkdir(self.markers)
        fixture = os.path.join(self.folder.name, "fixture.json")
        write_fixture(fixture)
        event_addr = f"tcp://127.0.0.1:{free_port()}"
        self.server = Server("--with-local-agent", fixture=fixture, event_listen=event_addr,
                             config="[bai.local-agent]\ncpu = '4'\nmem = '4g'\n")
        self.addCleanup(self.server.close)
        self.server.start()
        self.apart_root = os.path.join(self.server.directory, "kernels-apart")
        self.start_agent(
            "bai-local-agent", "--id", "i-apart", "--resource-group", "apart", "--work-root",
            self.apart_root, "--slot", "cpu", "4", "--slot", "mem", "4g", manager=event_addr)
        self.sims = self.start_agent(
            "bai-sim-agents", "--count", "10", "--resource-group", "sims", "--create-delay", "0",
            "0.2", "--batch-delay", "0.05", "0.5", "--destroy-delay", "0", "0.1",
            "--seed", str(SEED), "--keep-records", manager=event_addr,
            stdout=os.path.join(self.folder.name, "sims.out"))
        self.ledger = Ledger()

    def start_agent(self, program, *arguments, manager, stdout=os.devnull):
        with open(stdout, "w", encoding="utf-8") as out:
            process = subprocess.Popen(
                [os.path.join(BIN_DIR, program), "--manager", manager, "--heartbeat-interval",
                 "0.5", *arguments], stdout=out, stderr=subprocess.DEVNULL, start_new_session=True)

        def end():
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.addCleanup(end)
        return process

    # ---- the parts of the run ----

    def restart(self):
        """Sometimes it dies again while it starts or right afterwards; then it is started again."""
        while True:
            timer = None
            if self.random.random() < 0.2:
                timer = threading.Timer(self.random.uniform(0, 0.3), self.server.kill)
                timer.start()
            try:
                self.server.start(30)
            except AssertionError:
                if timer is None or self.server.process.returncode != -signal.SIGKILL:
                    raise
            finally:
                if timer:
                    timer.join()
            if self.server.process.poll() is None:
                return
            self.server.port = None

    def wait_for(self, what, condition, seconds=QUIET_SECONDS):
        end = time.monotonic() + seconds
        while True:
            found = condition()
            if found is True:
                return
            if time.monotonic() > end:
                raise AssertionError(f"not within {seconds} s: {what}; still {found}")
            time.sleep(0.1)

    def sessions(self):
        admin, items = self.server.client(ADMIN), {}
        while True:
            page = admin("POST", "/compute-sessions/search", {
                "order": [{"field": "id", "direction": "asc"}], "limit": 100,
                "offset": len(items)}).json
            items.update((item["id"], item) for item in page["items"])
            if not page["items"] or len(items) >= page["pagination"]["total"]:
                return items

    def agents(self):
        return self.server.client(ADMIN)("GET", "/cluster/agents").json["items"]

    def kernel_processes(self):
        """(work root, kernel id) of every supervisor on this host that serves this test."""
        roots = (os.path.join(self.server.directory, "kernels"), self.apart_root)
        found = collections.Counter()
        for entry in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                with open(f"/proc/{entry}/cmdline", encoding="utf-8") as file:
                    words = file.read().split("\0")
                found.update({kernel for root, _, kernel in (w.rpartition("/") for w in words)
                              if root in roots and "-" in kernel})
        return found

    def create_keeper(self, group, token):
        user = self.server.client()
        answer = user("POST", "/session", create_body(
            f"keeper-{group}", config={"resources": {"cpu": "0.5", "mem": "256m"},
                                       "scalingGroup": group}))
        self.assertEqual((201, "RUNNING"), (answer.status, (answer.json or {}).get("status")),
                         answer)
        session = answer.json["sessionId"]
        code = {"mode": "query", "code": f"kept = {token!r}"}
        self.assertEqual(200, user("POST", f"/session/{session}", code).status)
        return session

    def check_keeper(self, session, token):
        user = self.server.client()
        body = {"mode": "query", "code": "print(kept)"}

        def answers():
            answer = user("POST", f"/session/{session}", body)
            return answer.status == 200 and token in str(answer.json["result"]["console"]) or answer
        self.wait_for("a kernel from before the kills answers", answers, 30)

    # ---- what must hold ----

    def check_accounts(self, sessions):
        """Granted slots equal the sum of live kernels; no session has two of them."""
        held = collections.defaultdict(lambda: collections.defaultdict(float))
        kernels = collections.Counter()
        for item in sessions.values():
            live = [c for c in item["containers"] if c["status"] not in ENDED | {"ERROR"}]
            self.assertLessEqual(len(item["containers"]), 1, item)
            if item["status"] in ENDED:
                self.assertEqual([], live, item)
            for container in live:
                if container["agent_id"]:
                    kernels[container["agent_id"]] += 1
                    for slot, amount in container["resource_usage"].items():
                        held[container["agent_id"]][slot] += float(amount)
        for agent in self.agents():
            granted = {s: float(a) for s, a in agent["occupied_slots"].items() if float(a)}
            summed = {s: a for s, a in held[agent["id"]].items() if a}
            self.assertEqual(summed, granted, agent)
            for slot, amount in granted.items():
                self.assertLessEqual(amount, float(agent["available_slots"][slot]), agent)

    def check_in_between(self):
        """After a restart, with the load held back until nothing is on its way."""
        self.pause.set()
        self.wait_for("quiet in between", self.unsettled)
        sessions = self.sessions()
        self.check_accounts(sessions)
        self.check_hosts(sessions)
        self.pause.clear()

    def check_sims(self):
        """What the simulated agents saw: nothing was created twice, held too much or is left."""
        self.sims.send_signal(signal.SIGTERM)
        self.assertEqual(0, self.sims.wait(20))
        with open(os.path.join(self.folder.name, "sims.out"), encoding="utf-8") as file:
            text = file.read()
        found = re.search(r"(\d+) kernels created, (\d+) of them twice, (\d+) live; "
                          r"(\d+) creations repeated, (\d+) agents overfull", text)
        self.assertTrue(found, text)
        created, *wrong = map(int, found.groups())
        self.assertGreaterEqual(created, KILLS)
        self.assertEqual([0, 0, 0, 0], wrong, text)
        self.assertIn(", 0 refused for room", text)

    def check_work(self, sessions):
        """Kills prove nothing where nothing was going on."""
        groups = collections.Counter(self.ledger.group[name] for name in self.ledger.accepted)
        for group in GROUPS:
            self.assertGreaterEqual(groups[group], KILLS // 2, groups)
        self.assertGreaterEqual(len(self.ledger.destroyed), KILLS // 4)
        done = sum(item["result"] == "success" for item in sessions.values())
        self.assertGreaterEqual(done, KILLS)

    def check_promises(self, sessions):
        names = collections.Counter(item["name"] for item in sessions.values())
        for name, session in self.ledger.accepted.items():
            self.assertIn(session, sessions, f"{name} was accepted and is lost")
            self.assertEqual(1, names[name], f"{name} exists more than once")
            status = sessions[session]["status"]
            if name in self.ledger.destroyed:
                self.assertIn(status, ENDED, f"{name} was destroyed")
        for item in sessions.values():
            if item["name"] not in self.ledger.batch:
                continue
            self.assertIn(item["status"], ENDED | {"PENDING"}, item)
            if self.ledger.group[item["name"]] == "sims":
                continue
            marker = os.path.join(self.markers, item["name"])
            with contextlib.suppress(FileNotFoundError):
                with open(marker, encoding="utf-8") as file:
                    runs = file.read().split()
                self.assertLessEqual(len(runs), 1, f"{item['name']} ran more than once")
            if item["result"] == "success":
                self.assertEqual(1, os.path.exists(marker) and os.path.getsize(marker) // 4, item)

    def unsettled(self):
        """True once nothing is on its way; the sessions that still are otherwise."""
        sessions = self.sessions().values()
        moving = [
            (i["name"], i["status"], i["scaling_group"]) for i in sessions
            if i["status"] not in ENDED | {"RUNNING", "PENDING"}
            or (i["status"] == "RUNNING" and i["name"] in self.ledger.batch)
            or (i["status"] == "PENDING" and not i["pending"])]
        return not moving or (len(moving), moving[:5])

    def test_killed_at_random_moments(self):
        print(f"\nBAI_SEED={SEED} BAI_KILLS={KILLS}", flush=True)
        self.wait_for("12 agents are alive",
                      lambda: sum(a["status"] == "ALIVE" for a in self.agents()) == 12 or
                      [a["id"] for a in self.agents()], 30)
        tokens = {group: f"token-{group}-{SEED}" for group in GROUPS[:2]}
        keepers = {group: self.create_keeper(group, token) for group, token in tokens.items()}
        stop, self.pause = threading.Event(), threading.Event()
        loads = [Load(n, self.server, self.ledger, self.markers, stop, self.pause)
                 for n in range(WORKERS)]
        for load in loads:
            load.start()
        self.addCleanup(stop.set)
        for kill in range(KILLS):
            time.sleep(self.random.uniform(0.02, 1.0))
            self.server.port = None
            self.server.kill()
            self.restart()
            if kill % 10 == 5:
                for group, session in keepers.items():
                    self.check_keeper(session, tokens[group])
                self.check_in_between()
            for load in loads:
                self.assertIsNone(load.problem)
        ended_unseen = self.end_unseen()
        stop.set()
        for load in loads:
            load.join(60)
            self.assertFalse(load.is_alive(), "a client does not come to an end")
            if load.problem:
                raise load.problem
        self.wait_for("quiet", self.unsettled)
        sessions = self.sessions()
        self.check_accounts(sessions)
        self.check_promises(sessions)
        self.assertEqual(("TERMINATED", "success"),
                         (sessions[ended_unseen]["status"], sessions[ended_unseen]["result"]))
        self.check_hosts(sessions)
        for group, session in keepers.items():
            self.check_keeper(session, tokens[group])
        self.end_all(sessions)
        self.check_sims()
        self.check_work(sessions)
        print(f"{len(self.ledger.accepted)} accepted, {self.ledger.unknown} without an answer, "
              f"{len(sessions)} sessions in the end", flush=True)

    def end_unseen(self):
        """A batch session whose command ends while there is no server; its id."""
        # Sessions whose creation was never answered are nobody's to end; in a long run they fill
        # the agent.
        user = self.server.client()
        for session, item in self.sessions().items():
            if item["status"] not in ENDED and item["name"] in self.ledger.group and (
                    item["name"] not in self.ledger.accepted):
                self.assertIn(user("DELETE", f"/session/{session}").status, (200, 404))
        marker = os.path.join(self.markers, "unseen")
        go = marker + ".go"
        answer = self.server.client()("POST", "/session", create_body(
            "unseen", type="batch", image="local/shell:latest", enqueueOnly=True, priority=100,
            startupCommand=f"touch {marker}.began; until [ -e {go} ]; do sleep 0.02; done; "
                           f"echo ran >> {marker}",
            config={"resources": {"cpu": "0.5", "mem": "256m"}, "scalingGroup": "apart"}))
        self.assertEqual(201, answer.status, answer)
        with self.ledger.lock:
            self.ledger.accepted["unseen"] = answer.json["sessionId"]
            self.ledger.group["unseen"] = "apart"
            self.ledger.batch.add("unseen")
        self.wait_for("the batch begins",
                      lambda: os.path.exists(marker + ".began") or self.apart())
        self.server.port = None
        self.server.kill()
        with open(go, "w", encoding="utf-8"):
            pass
        self.wait_for("the batch ends", lambda: os.path.exists(marker), 30)
        time.sleep(0.3)
        self.server.start(30)
        return answer.json["sessionId"]

    def apart(self):
        """Who has the room that it would need, for whoever reads the failure."""
        held = [(i["name"], i["status"], i["pending"]) for i in self.sessions().values()
                if i["scaling_group"] == "apart" and i["status"] not in ENDED]
        return held, [(a["id"], a["status"], a["occupied_slots"]) for a in self.agents()
                      if a["id"] == "i-apart"]

    def check_hosts(self, sessions):
        """On the host runs exactly what the server says that runs, each once."""
        expected = collections.Counter({
            c["id"]: 1 for item in sessions.values() for c in item["containers"]
            if item["status"] == "RUNNING" and item["scaling_group"] != "sims"})

        def same():
            found = self.kernel_processes()
            return found == expected or {"too many": sorted((found - expected).elements()),
                                         "missing": sorted((expected - found).elements())}
        self.wait_for("the host runs what the server says", same, 30)

    def end_all(self, sessions):
        user = self.server.client()
        for session, item in sessions.items():
            if item["status"] not in ENDED:
                self.assertIn(user("DELETE", f"/session/{session}").status, (200, 404))
        self.wait_for("all sessions end", lambda: (
            not (rest := [i["name"] for i in self.sessions().values()
                          if i["status"] not in ENDED]) or rest[:5]))
        for agent in self.agents():
            self.assertEqual({}, {s: a for s, a in agent["occupied_slots"].items() if float(a)},
                             agent)
        self.wait_for("no kernel is left on the host",
                      lambda: not (left := self.kernel_processes()) or left, 30)


if __name__ == "__main__":
    unittest.main()
