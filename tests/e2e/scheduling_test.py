"""What the scheduler does to sessions of real processes, over the wire: preemption, reservations, groups."""

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

    def start_agent(self, name):
        agent = subprocess.Popen(
            [os.path.join(BIN_DIR, "bai-local-agent"), "--manager", self.server.event_addr, "--id", name,
             "--heartbeat-interval", "0.2", "--work-root", os.path.join(self.server.directory, f"kernels-{name}"),
             "--slot", "cpu", "2", "--slot", "mem", "2g"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)

        def end():
            agent.kill()
            agent.wait()
        self.addCleanup(end)

    def wait_for(self, condition, seconds=20):
        end = time.monotonic() + seconds
        while not condition():
            self.assertLess(time.monotonic(), end, "".join(self.server.lines))
            time.sleep(0.02)

    def test_a_strict_group_spreads_over_all_agents(self):
        self.serve({})
        for name in ("i-two", "i-three"):
            self.start_agent(name)
        alive = "/cluster/agents?status=ALIVE"
        self.wait_for(lambda: self.user("GET", alive).json["total"] == 3)
        made = self.user("POST", "/session-groups", {"id": "apart", "placement_enforcement": "strict"})
        self.assertEqual(201, made.status, made)
        admin = self.server.client(ADMIN)

        def agent_of(session):
            found = [item for item in admin("POST", "/compute-sessions/search", {}).json["items"]
                     if item["id"] == session]
            return [container["agent_id"] for container in found[0]["containers"]]

        members = [self.create(f"apart-{i}", cpu="0.5", session_group="apart") for i in range(3)]
        placed = [agent for session in members for agent in agent_of(session)]
        self.assertEqual(["i-local", "i-three", "i-two"], sorted(placed))
        held = [item["occupied_slots"]["cpu"] for item in self.user("GET", alive).json["items"]]
        self.assertEqual(["0.5"] * 3, held)

        one_more = self.create("one-more", cpu="0.5", session_group="apart", enqueueOnly=True)
        why = f"/session/{one_more}/why"
        self.wait_for(lambda: self.user("GET", why).json["pending"])
        pending = self.user("GET", why).json["pending"]
        self.assertEqual({"session-group": 3}, pending["rejected"], pending)
        self.assertIn("session group apart asks for strict spread", pending["message"])
        # There is room on every agent for whoever is in no group, or in another one.
        self.create("in-none", cpu="0.5")
        self.assertEqual("PENDING", self.status(one_more))
        self.assertEqual(200, self.user("DELETE", f"/session/{members[1]}?forced=true").status)
        self.user.wait_status(one_more, "RUNNING")
        self.assertEqual(agent_of(members[1]), agent_of(one_more))

    def test_a_group_is_made_altered_and_deleted(self):
        self.serve({})
        path = "/session-groups/apart"
        made = self.user("POST", "/session-groups", {"id": "apart", "placement_enforcement": "strict"})
        self.assertEqual((201, {"id": "apart"}), (made.status, made.json))
        self.assertEqual(409, self.user("POST", "/session-groups", {"id": "apart"}).status)
        first = self.create("apart-1", cpu="0.5", session_group="apart")
        second = self.create("apart-2", cpu="0.5", session_group="apart", enqueueOnly=True)
        end = time.monotonic() + 20
        while "session-group" not in str(self.user("GET", f"/session/{second}/why").json["pending"]):
            self.assertLess(time.monotonic(), end)
            time.sleep(0.02)

        # What is wrong alters nothing.
        wrong = self.user("PATCH", path, {"placement_direction": "sideways"})
        self.assertEqual((400, True), (wrong.status, "sideways" in str(wrong.json)), wrong)
        self.assertEqual(400, self.user("PATCH", path, {}).status)
        for body, status in (({"project": "nowhere"}, 404), ({"id": "no spaces"}, 400),
                             ({"owner": "admin@lablup.com"}, 403), ({"owner": 5}, 400),
                             ({"placement_enforcement": "maybe"}, 400), ({"direction": "pack"}, 400)):
            self.assertEqual(status, self.user("POST", "/session-groups", body).status, body)
        used = self.user("DELETE", path)
        self.assertEqual((409, True), (used.status, "2 of them" in str(used.json)), used)
        admin = self.server.client(ADMIN)
        self.assertEqual(201, admin("POST", "/session-groups", {"id": "admins"}).status)
        for method, body in (("GET", None), ("PATCH", {"placement_direction": "none"}), ("DELETE", None)):
            self.assertEqual(404, self.user(method, "/session-groups/admins", body).status, method)
        listed = [[item["id"] for item in client("GET", "/session-groups").json["items"]]
                  for client in (self.user, admin)]
        self.assertEqual([["apart"], ["admins", "apart"]], [sorted(ids) for ids in listed])

        # It is there after a restart, and who waits follows what becomes of it.
        self.server.kill()
        self.server.start()
        self.user = self.server.client()
        shown = self.user("GET", path).json
        self.assertEqual(("spread", "strict", [first, second]),
                         (shown["placement_direction"], shown["placement_enforcement"],
                          [session["id"] for session in shown["sessions"]]))
        self.assertEqual("PENDING", self.status(second))
        self.assertEqual(204, self.user("PATCH", path, {"placement_enforcement": "preferred"}).status)
        self.user.wait_status(second, "RUNNING")
        for session in (first, second):
            self.user("DELETE", f"/session/{session}?forced=true")
            self.user.wait_status(session, "TERMINATED")
        self.assertEqual(204, self.user("DELETE", path).status)
        self.assertEqual(404, self.user("GET", path).status)

    def test_groups_on_the_command_line(self):
        self.serve({})
        made = self.baictl(USER, "session-group", "create", "--placement", "pack", "--enforcement", "strict")
        self.assertEqual(0, made.returncode, made)
        group = made.stdout.strip()
        session = self.create("packed", cpu="0.5", session_group=group)
        self.assertIn(group, self.baictl(USER, "session-group", "list").stdout)
        shown = self.baictl(USER, "session-group", "show", group).stdout
        self.assertIn("strict pack, project default of domain default", shown)
        self.assertIn(session, shown)
        altered = self.baictl(USER, "session-group", "modify", group, "--placement", "spread")
        self.assertEqual(0, altered.returncode, altered)
        shown = json.loads(self.baictl(USER, "session-group", "show", group, "--json").stdout)
        self.assertEqual(("spread", "strict"), (shown["placement_direction"], shown["placement_enforcement"]))
        used = self.baictl(USER, "session-group", "delete", group)
        self.assertEqual((1, True), (used.returncode, "live sessions" in used.stderr), used)
        self.user("DELETE", f"/session/{session}?forced=true")
        self.user.wait_status(session, "TERMINATED")
        self.assertEqual(0, self.baictl(USER, "session-group", "delete", group).returncode)
        self.assertEqual(1, self.baictl(USER, "session-group", "show", group).returncode)
        wrong = self.baictl(USER, "session-group", "create", "--placement", "sideways")
        self.assertEqual((1, True), (wrong.returncode, "spread" in wrong.stderr), wrong)

    def test_a_reservation_is_its_owners(self):
        self.serve({})
        agent = self.user("GET", "/cluster/agents").json["items"][0]["id"]
        body = {"name": "course", "agents": {agent: {"cpu": "2", "mem": "1g"}},
                "owners": ["domain/default"],
                "starts_at": moment(-1), "ends_at": moment(3600)}
        self.assertIn(self.user("POST", "/resource-groups/default/reservations", body).status,
                      (401, 403))
        admin = self.server.client(ADMIN)
        unknown = admin("POST", "/resource-groups/default/reservations", body | {"begins_at": moment(60)})
        self.assertEqual((400, True), (unknown.status, "begins_at" in str(unknown.json)), unknown)
        answer = admin("POST", "/resource-groups/default/reservations", body)
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


    def test_reservations_that_cannot_be(self):
        self.serve({})
        admin = self.server.client(ADMIN)
        path = "/resource-groups/default/reservations"
        right = {"name": "course", "agents": {"i-local": {"cpu": "1.5"}}, "owners": ["user/admin@lablup.com"],
                 "starts_at": moment(-1), "ends_at": moment(3600)}

        def amounts(slots):
            return {"agents": {"i-local": slots}}
        for status, said, change in (
                (400, "is not after starts_at", {"ends_at": moment(-2)}),
                (400, "is not after starts_at", {"ends_at": right["starts_at"]}),
                (400, "is over", {"starts_at": moment(-9), "ends_at": moment(-5)}),
                (400, "366 days", {"ends_at": moment(367 * 86400)}),
                (400, "366 days", {"starts_at": "1700-01-01T00:00:00Z", "ends_at": "2250-01-01T00:00:00Z"}),
                (400, "starts_at", {"starts_at": "noon"}), (400, "ends_at", {"ends_at": None}),
                (400, "negative", amounts({"cpu": -1})), (400, "positive", amounts({"cpu": 0})),
                (400, "Unknown slot type", amounts({"gold": 1})), (400, "it has 2", amounts({"cpu": 3})),
                (400, "names no slot", amounts({})), (400, "i-local", amounts(5)),
                (400, "cpu", amounts({"cpu": "many"})), (404, "i-none", {"agents": {"i-none": {"cpu": 1}}}),
                (400, "agents", {"agents": {}}), (400, "agents", {"agents": []}), (400, "owners", {"owners": []}),
                (400, "owners", {"owners": ["ada"]}), (404, "nowhere", {"owners": ["domain/nowhere"]}),
                (400, "stands twice", {"owners": ["domain/default", "domain/default"]}),
                (400, "name", {"name": "a/b"})):
            answer = admin("POST", path, right | change)
            self.assertEqual((status, True), (answer.status, said in str(answer.json)), (change, answer))
        self.assertEqual(0, admin("GET", path).json["total"])
        self.assertEqual(201, admin("POST", path, right).status)
        second = right | {"name": "second", "agents": {"i-local": {"cpu": 1}}}
        answer = admin("POST", path, second)
        self.assertEqual((400, True), (answer.status, "together" in str(answer.json)), answer)
        after = admin("POST", path, second | {"starts_at": right["ends_at"], "ends_at": moment(7200)})
        self.assertEqual(201, after.status, after)

        # It is somebody else's; who may not use it does not see it either.
        self.assertEqual(0, self.user("GET", path).json["total"])
        config = {"resources": {"cpu": "1", "mem": "256m"}, "resource_opts": {"reservation": "course"}}
        for target in ("/session", "/session/_/what-if"):
            answer = self.user("POST", target, create_body("foreign", config=config))
            self.assertEqual((403, True), (answer.status, "not yours to use" in str(answer.json)), answer)
            config["resource_opts"] = {"reservation": "lecture"}
            answer = self.user("POST", target, create_body("foreign", config=config))
            self.assertEqual((404, True), (answer.status, "lecture" in str(answer.json)), answer)
            config["resource_opts"] = {"reservation": "course"}
        for client in (self.user, admin):
            unknown = client("GET", "/resource-groups/nowhere/reservations")
            self.assertEqual((404, "scaling-group_read_not-found"), (unknown.status, unknown.json["error_code"]))


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
