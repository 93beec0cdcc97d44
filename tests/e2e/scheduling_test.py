"""What the scheduler does to sessions of real processes: preemption and reservations, over the wire."""

import datetime
import json
import os
import subprocess
import tempfile
import time
import unittest

from bai_client import ADMIN, BIN_DIR, FIXTURE, USER, Server, create_body


def moment(seconds):
    """So many seconds from now, as people write times."""
    now = datetime.datetime.now(datetime.timezone.utc)
    return (now + datetime.timedelta(seconds=seconds)).isoformat()


class Scheduling(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="bai-scheduling-")
        self.addCleanup(self.folder.cleanup)

    def serve(self, options, **tables):
        with open(FIXTURE, encoding="utf-8") as source:
            fixture = json.load(source)
        fixture["resource_groups"][0]["policy_options"] = options
        fixture.update(tables)
        path = os.path.join(self.folder.name, "fixture.json")
        with open(path, "w", encoding="utf-8") as out:
            json.dump(fixture, out)
        self.server = Server("--with-local-agent", fixture=path,
                             config="[bai.local-agent]\ncpu = '2'\nmem = '2g'\n")
        self.addCleanup(self.server.close)
        self.server.start()
        self.user = self.server.client()
        end = time.monotonic() + 20
        while not self.user("GET", "/cluster/agents?status=ALIVE").json["total"]:
            self.assertLess(time.monotonic(), end, self.server.lines)
            time.sleep(0.02)

    def create(self, name, cpu="2", resource_opts=None, session_group=None, **changes):
        answer = self.user("POST", "/session", create_body(name, config={
            "resources": {"cpu": cpu, "mem": "256m"}, "resource_opts": resource_opts or {},
            "session_group": session_group}, **changes))
        self.assertEqual(201, answer.status, answer)
        return answer.json["sessionId"]

    def status(self, session):
        return self.user("GET", f"/session/{session}").json["status"]

    def test_preemption_ends_the_victim(self):
        self.serve({"preemption": {"enabled": True}})
        victim = self.create("victim")
        kept = self.create("kept-waiting", enqueueOnly=True)
        urgent = self.create("urgent", job_priority=5, enqueueOnly=True, priority=20)
        self.user.wait_status(urgent, "RUNNING")
        info = self.user.wait_status(victim, "TERMINATED")
        self.assertIn("PREEMPTED_BY_SCHEDULER", json.dumps(info))
        self.assertEqual("PENDING", self.status(kept))
        agents = self.user("GET", "/cluster/agents").json["items"]
        self.assertEqual("2", agents[0]["occupied_slots"]["cpu"])

    def test_preemption_puts_the_victim_back(self):
        self.serve({"preemption": {"enabled": True, "mode": "reschedule"}})
        marker = os.path.join(self.folder.name, "runs")
        victim = self.create("victim", type="batch", image="local/shell:latest",
                             startupCommand=f"echo run >> {marker}; sleep 0.3; test -e {marker}.go "
                                            f"|| sleep 60")
        end = time.monotonic() + 20
        while not os.path.exists(marker):
            self.assertLess(time.monotonic(), end)
            time.sleep(0.02)
        urgent = self.create("urgent", job_priority=5, enqueueOnly=True, priority=20)
        self.user.wait_status(urgent, "RUNNING")
        self.assertEqual("PENDING", self.status(victim))
        with open(marker + ".go", "w", encoding="utf-8"):
            pass
        self.assertEqual(200, self.user("DELETE", f"/session/{urgent}").status)
        self.user.wait_status(victim, "TERMINATED")
        with open(marker, encoding="utf-8") as runs:
            self.assertEqual(2, len(runs.readlines()))

    def baictl(self, keys, *words):
        environment = dict(os.environ, HOME=self.folder.name, XDG_CONFIG_HOME=self.folder.name)
        program = os.path.join(BIN_DIR, "baictl")
        subprocess.run(
            [program, "login", "--endpoint", f"http://127.0.0.1:{self.server.port}",
             "--access-key", keys[0], "--secret-key", keys[1]],
            check=True, env=environment, capture_output=True)
        return subprocess.run([program, *words], env=environment, capture_output=True, text=True,
                              timeout=30)

    def test_a_group_and_kernels_that_differ(self):
        with open(FIXTURE, encoding="utf-8") as source:
            fixture = json.load(source)
        owner = [user["uuid"] for user in fixture["users"] if user["username"] == "user"][0]
        self.serve({}, session_groups=[{
            "id": "replicas", "domain_name": "default", "project": fixture["projects"][0]["id"],
            "owner": owner, "placement_direction": "spread", "placement_enforcement": "strict"}])
        first = self.baictl(USER, "session", "create", "-t", "first", "-r", "cpu=1", "-r", "mem=256m",
                            "--sub-resources", "cpu=0.5", "--sub-resources", "mem=256m",
                            "--cluster-size", "2", "--session-group", "replicas", "local/shell:latest")
        self.assertEqual(0, first.returncode, first)
        self.assertIn("RUNNING", first.stdout)
        held = self.user("GET", "/cluster/agents").json["items"][0]["occupied_slots"]
        self.assertEqual("1.5", held["cpu"])
        second = self.create("second", enqueueOnly=True, cpu="0.5", session_group="replicas")
        asked = self.baictl(USER, "session", "why", second)
        self.assertIn("agents: session-group", asked.stdout, asked)
        self.assertEqual("PENDING", self.status(second))
        lone = self.baictl(USER, "session", "create", "--sub-resources", "cpu=1")
        self.assertEqual(2, lone.returncode, lone)
        self.assertIn("--cluster-size", lone.stderr)

    def test_a_reservation_is_its_owners(self):
        self.serve({})
        agent = self.user("GET", "/cluster/agents").json["items"][0]["id"]
        body = {"name": "course", "agents": {agent: {"cpu": "2", "mem": "1g"}},
                "owners": ["domain/default"],
                "starts_at": moment(-1), "ends_at": moment(3600)}
        self.assertIn(self.user("POST", "/resource-groups/default/reservations", body).status,
                      (401, 403))
        answer = self.server.client(ADMIN)("POST", "/resource-groups/default/reservations", body)
        self.assertEqual(201, answer.status, answer)
        outside = self.create("outside", enqueueOnly=True)
        inside = self.create("inside", type="batch", image="local/shell:latest",
                             startupCommand="sleep 0.2", resource_opts={"reservation": "course"},
                             batch_timeout=60, enqueueOnly=True)
        self.user.wait_status(inside, "TERMINATED")
        self.assertEqual("PENDING", self.status(outside))
        listed = self.baictl(ADMIN, "reservation", "ls")
        self.assertEqual(0, listed.returncode, listed)
        self.assertIn("course", listed.stdout)
        self.assertEqual(0, self.baictl(ADMIN, "reservation", "rm", "course").returncode)
        self.user.wait_status(outside, "RUNNING")


class NamedAgents(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="bai-named-")
        self.addCleanup(self.folder.cleanup)

    def test_hidden_agents_are_chosen_by_superadmins_only(self):
        with open(FIXTURE, encoding="utf-8") as source:
            fixture = json.load(source)
        fixture["resource_groups"][0]["policy_options"] = {"agent_selection_policy": "strict"}
        path = os.path.join(self.folder.name, "fixture.json")
        with open(path, "w", encoding="utf-8") as out:
            json.dump(fixture, out)
        for hidden in (False, True):
            config = f"[manager]\nhide-agents = {str(hidden).lower()}\n[bai.local-agent]\n" \
                     "cpu = '2'\nmem = '2g'\n"
            with Server("--with-local-agent", config=config, fixture=path) as server:
                user, admin = server.client(), server.client(ADMIN)
                end = time.monotonic() + 20
                while not user("GET", "/cluster/agents?status=ALIVE").json["total"]:
                    self.assertLess(time.monotonic(), end)
                    time.sleep(0.02)
                shown = user("GET", "/cluster/agents").json["items"][0]["id"]
                self.assertEqual(None if hidden else "i-local", shown)
                self.assertEqual("i-local", admin("GET", "/cluster/agents").json["items"][0]["id"])
                body = create_body("chosen", config={"agent_list": ["i-local"]})
                answer = user("POST", "/session", body)
                if hidden:
                    self.assertEqual((403, "insufficient-privilege"), answer.problem()[:2])
                else:
                    self.assertEqual((201, "RUNNING"), (answer.status, answer.json["status"]))
                answer = admin("POST", "/session", body)
                self.assertEqual((201, "RUNNING"), (answer.status, answer.json["status"]))
                item = admin("POST", "/compute-sessions/search", {}).json["items"][0]
                self.assertEqual("i-local", item["containers"][0]["agent_id"])
                # nothing else will do, as the resource group is strict
                body = create_body("elsewhere", enqueueOnly=True, config={"agent_list": ["i-none"]})
                session = admin("POST", "/session", body).json["sessionId"]
                end = time.monotonic() + 10
                while not (why := admin("GET", f"/session/{session}/why").json)["pending"]:
                    self.assertLess(time.monotonic(), end, why)
                    time.sleep(0.02)
                self.assertEqual("PENDING", why["status"])


if __name__ == "__main__":
    unittest.main()
