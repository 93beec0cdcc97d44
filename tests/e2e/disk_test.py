"""A disk that takes nothing more: the server refuses changes, reads on, and goes on afterwards."""

import os
import resource
import subprocess
import time
import unittest

from bai_client import BIN_DIR, Server, create_body


class FullDisk(unittest.TestCase):
    def test_writes_are_refused_and_taken_up_again(self):
        with Server(config="[bai.timeouts]\nstorage-backoff = 0.5\n") as server:
            agents = subprocess.Popen(
                [os.path.join(BIN_DIR, "bai-sim-agents"), "--manager", server.event_addr, "--count",
                 "1", "--heartbeat-interval", "0.5"],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                self.run_with(server)
            finally:
                agents.kill()
                agents.wait()

    def allow(self, server, size):
        _, hard = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (size, hard))

    def run_with(self, server):
        user, end = server.client(), time.monotonic() + 20
        while not user("GET", "/cluster/agents?status=ALIVE").json["total"]:
            self.assertLess(time.monotonic(), end)
            time.sleep(0.02)
        before = user("POST", "/session", create_body("before"))
        self.assertEqual((201, "RUNNING"), (before.status, before.json["status"]))

        self.allow(server, 0)
        for number in range(5):
            answer = user("POST", "/session", create_body(f"refused-{number}", enqueueOnly=True))
            self.assertEqual((503, "service-unavailable"), answer.problem()[:2], answer)
            self.assertEqual(503, user.raw("GET", "/health/readyz").status)
            self.assertEqual(200, user.raw("GET", "/health/livez").status)
            inner = server.internal().raw("GET", "/health/readyz")
            self.assertEqual((503, "degraded"), (inner.status, inner.json["status"]))
            self.assertEqual("RUNNING", user("GET", "/session/before").json["status"])
            time.sleep(0.2)  # also past the pause after a refusal
        self.assertIsNone(server.process.poll())
        self.assertTrue(any("storage refused a commit" in line for line in server.lines))

        self.allow(server, resource.RLIM_INFINITY)
        end = time.monotonic() + 20
        while user.raw("GET", "/health/readyz").status != 200:
            self.assertLess(time.monotonic(), end)
            time.sleep(0.05)
        after = user("POST", "/session", create_body("after"))
        self.assertEqual((201, "RUNNING"), (after.status, after.json["status"]), after)
        self.check_sessions(user)
        server.stop()
        server.start()
        self.check_sessions(server.client())

    def check_sessions(self, user):
        """What was refused is nowhere, what was accepted is there."""
        items = user("POST", "/cluster/sessions/search", {}).json["items"]
        self.assertEqual({("before", "RUNNING"), ("after", "RUNNING")},
                         {(item["name"], item["status"]) for item in items})


if __name__ == "__main__":
    unittest.main()
