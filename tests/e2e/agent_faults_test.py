"""Agents that stop, die and fail, over real sockets: counted, logged, survived."""

import os
import re
import signal
import subprocess
import tempfile
import time
import unittest

from bai_client import BIN_DIR, Server, baictl, create_body

CONFIG = """
[manager]
heartbeat-timeout = 1.0
[bai.limits]
attempts-max = 3
[bai.timeouts]
lost-grace = 2.0
retry-backoff = 0.05
recheck-interval = 0.5
call = 2.0
"""


class AgentFaults(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="bai-faults-")
        self.addCleanup(self.folder.cleanup)
        self.server = Server(config=CONFIG)
        self.addCleanup(self.server.close)
        self.server.start()
        self.user = self.server.client()
        # below the server's directory, so that closing the server ends what is left of them
        self.kernels = os.path.join(self.server.directory, "kernels")

    def start_agent(self, program, *arguments):
        agent = subprocess.Popen(
            [os.path.join(BIN_DIR, program), "--manager", self.server.event_addr,
             "--heartbeat-interval", "0.2", *arguments],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)

        def end():
            agent.kill()
            agent.wait()
        self.addCleanup(end)
        return agent

    def start_local_agent(self):
        agent = self.start_agent("bai-local-agent", "--id", "i-one", "--work-root", self.kernels,
                                 "--slot", "cpu", "2", "--slot", "mem", "2g")
        self.wait_for(lambda: self.agent_status("i-one") == "ALIVE")
        return agent

    def wait_for(self, condition, seconds=20):
        end = time.monotonic() + seconds
        while not condition():
            self.assertLess(time.monotonic(), end, "".join(self.server.lines))
            time.sleep(0.02)

    def agent_status(self, name):
        items = self.user("GET", "/cluster/agents").json["items"]
        return {item["id"]: item["status"] for item in items}.get(name)

    def supervisors(self):
        """Processes that serve a kernel of this test."""
        found = []
        for entry in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{entry}/cmdline", encoding="utf-8") as file:
                    if self.kernels + "/" in file.read():
                        found.append(int(entry))
            except OSError:
                pass
        return found

    def logged(self, pattern):
        return sum(bool(re.search(pattern, line)) for line in list(self.server.lines))

    def expect_logged(self, pattern):
        """Once. What the server prints may arrive after its answers."""
        self.wait_for(lambda: self.logged(pattern))
        self.assertEqual(1, self.logged(pattern), (pattern, self.server.lines))

    def metric(self, name):
        text = self.server.internal().raw("GET", "/metrics").body.decode()
        found = re.search(r"(?m)^" + re.escape(name) + r" (\S+)$", text)
        return float(found[1]) if found else 0

    def test_an_agent_that_stops_for_too_long(self):
        agent = self.start_local_agent()
        session = self.user("POST", "/session", create_body("frozen")).json["sessionId"]
        self.assertEqual(1, len(self.supervisors()))
        agent.send_signal(signal.SIGSTOP)
        self.wait_for(lambda: self.agent_status("i-one") == "LOST")
        # what needs the agent is refused, by a server that is there
        answer = self.user("POST", f"/session/{session}", {"mode": "query", "code": "1"})
        self.assertEqual((503, "agent-connection-unavailable", "agent_access_unavailable"),
                         answer.problem())
        result = baictl("session", "exec", session, "-c", "1", port=self.server.port)
        self.assertEqual(1, result.returncode, result)
        self.assertIn("agent", result.stderr)
        info = self.user.wait_status(session, "TERMINATED")
        self.assertEqual("agent-lost", info["statusInfo"])
        self.assertEqual(1, len(self.supervisors()))  # it cannot be reached
        agent.send_signal(signal.SIGCONT)
        self.wait_for(lambda: self.agent_status("i-one") == "ALIVE")
        self.wait_for(lambda: not self.supervisors())
        again = self.user("POST", "/session", create_body("thawed"))
        self.assertEqual((201, "RUNNING"), (again.status, again.json["status"]))
        self.assertEqual(1, len(self.supervisors()))
        for line in (r"agent i-one has joined", r"agent i-one is LOST",
                     r"\(frozen\) has ended: its agent is lost", r"agent i-one is back: it was LOST"):
            self.expect_logged(line)

    def test_an_agent_that_dies_and_comes_back(self):
        agent = self.start_local_agent()
        session = self.user("POST", "/session", create_body("survivor")).json["sessionId"]
        code = {"mode": "query", "code": "kept = 'still here'"}
        self.assertEqual(200, self.user("POST", f"/session/{session}", code).status)
        before = self.supervisors()
        agent.kill()
        agent.wait()
        self.start_local_agent()

        def answers():
            answer = self.user("POST", f"/session/{session}", {"mode": "query", "code": "print(kept)"})
            return answer.status == 200 and "still here" in str(answer.json["result"]["console"])
        self.wait_for(answers)
        self.assertEqual("RUNNING", self.user("GET", f"/session/{session}").json["status"])
        self.assertEqual(before, self.supervisors())
        self.assertGreaterEqual(self.metric("bai_agent_rpc_disconnects_total"), 1)
        self.expect_logged(r"connection to agent i-one is lost")
        self.assertEqual(200, self.user("DELETE", f"/session/{session}").status)
        self.user.wait_status(session, "TERMINATED")
        self.wait_for(lambda: not self.supervisors())

    def test_a_session_that_never_starts(self):
        self.start_agent("bai-sim-agents", "--count", "1", "--create-failure", "1")
        self.wait_for(lambda: self.agent_status("sim-00000") == "ALIVE")
        session = self.user("POST", "/session", create_body("hopeless", enqueueOnly=True)).json[
            "sessionId"]
        info = self.user.wait_status(session, "CANCELLED")
        self.assertRegex(info["statusInfo"], r"^3 attempts failed: \S")
        for line in (r"\(hopeless\) has failed to start, attempt 1: ",
                     r"\(hopeless\) has failed to start, attempt 2: ",
                     r"\(hopeless\) is given up after 3 attempts: "):
            self.expect_logged(line)
        items = self.user("GET", f"/session/{session}/history").json["items"]
        self.assertEqual("GIVE_UP", items[-1]["result"])
        text = self.server.internal().raw("GET", "/metrics").body.decode()
        self.assertRegex(text, r'backendai_layer_operation_count_total\{domain="client",layer='
                               r'"agent_client",operation="create_kernels",success="[^"]*"\} [1-3]\n')
        self.assertRegex(text, r'backendai_event_count_total\{event_type="agent_heartbeat"\} \d')
        self.assertIn("# TYPE backendai_event_processing_time_sec histogram", text)
        self.assertEqual(1, self.metric("backendai_agent_registry_count"))

    def test_events_about_nothing(self):
        """An agent that comes to another server still has a kernel, which ends there."""
        agent = self.start_local_agent()
        answer = self.user("POST", "/session", create_body("stranger"))
        self.assertEqual("RUNNING", answer.json["status"])
        agent.kill()
        agent.wait()
        with Server(config=CONFIG) as other:
            first, self.server = self.server, other
            self.user = other.client()
            try:
                agent = self.start_local_agent()  # it finds the kernel, which is unknown there
                for pid in self.supervisors():
                    os.kill(pid, signal.SIGKILL)
                self.wait_for(lambda: self.logged(r"event `kernel_terminated` of agent i-one is ignored"))
                self.assertGreaterEqual(self.metric("bai_agent_events_ignored_total"), 1)
            finally:
                self.server, self.user = first, first.client()


if __name__ == "__main__":
    unittest.main()
