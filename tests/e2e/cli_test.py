"""The server's command line: configuration, fixtures, ports that are taken."""

import json
import os
import socket
import subprocess
import tempfile
import unittest

from bai_client import BIN_DIR, FIXTURE, Server


def run(*arguments, seconds=20):
    return subprocess.run([os.path.join(BIN_DIR, "bai-manager-server"), *arguments],
                          capture_output=True, text=True, timeout=seconds, check=False)


class Commands(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory(prefix="bai-e2e-")
        self.addCleanup(self.directory.cleanup)

    def write(self, name, text):
        path = os.path.join(self.directory.name, name)
        with open(path, "w", encoding="utf-8") as out:
            out.write(text)
        return path

    def test_version_and_usage(self):
        self.assertIn("bai-manager-server", run("version").stdout)
        self.assertEqual(2, run().returncode)
        self.assertEqual(2, run("fly").returncode)
        self.assertEqual(0, run("serve", "--help").returncode)

    def test_config_check(self):
        good = self.write("good.toml", "[manager]\nservice-addr = '127.0.0.1:8081'\n")
        self.assertEqual(0, run("config", "check", good).returncode)
        odd = self.write("odd.toml", "[manager]\nnum-proc = 4\nservise-addr = 1\n")
        result = run("config", "check", odd)
        self.assertEqual(0, result.returncode)
        self.assertIn(f"{odd}:2: warning: manager.num-proc", result.stderr)
        self.assertIn(f"{odd}:3: warning: manager.servise-addr: unknown key", result.stderr)
        bad = self.write("bad.toml", "[manager]\n\nheartbeat-timeout = 'x'\n")
        result = run("config", "check", bad)
        self.assertEqual(2, result.returncode)
        self.assertIn(f"{bad}:3: manager.heartbeat-timeout: expected a number", result.stderr)
        self.assertEqual(2, run("config", "check", "/no/such.toml").returncode)

    def test_config_show_reads_back(self):
        shown = run("config", "show", "--listen", "127.0.0.1:9999")
        self.assertIn('service-addr = { host = "127.0.0.1", port = 9999 }', shown.stdout)
        path = self.write("shown.toml", shown.stdout)
        again = run("config", "check", path)
        self.assertEqual((0, ""), (again.returncode, again.stderr))

    def test_schema(self):
        self.assertIn("CREATE TABLE sessions (", run("schema").stdout)
        result = run("schema", "migrate", "--data", self.directory.name)
        self.assertEqual(0, result.returncode, result.stderr)
        self.assertTrue(os.path.exists(os.path.join(self.directory.name, "manager.db")))

    def test_fixture(self):
        with open(FIXTURE, encoding="utf-8") as file:
            self.assertEqual(file.read(), run("fixture", "example").stdout)
        load = lambda path: run("fixture", "load", "--data", self.directory.name, path)
        result = load(FIXTURE)
        self.assertEqual(0, result.returncode, result.stderr)
        self.assertIn("13 rows inserted, 0 replaced", result.stdout)
        self.assertIn("0 rows inserted, 13 replaced", load(FIXTURE).stdout)
        broken = self.write("broken.json", '{"domains": [{"name": "d", "is_active": "perhaps"}]}')
        result = load(broken)
        self.assertEqual(1, result.returncode)
        self.assertIn("domains[0]", result.stderr)
        result = load(self.write("unknown.json", json.dumps({"dragons": []})))
        self.assertIn("dragons", result.stderr)
        # Sessions have a life of their own, so nothing can come in that waits for itself.
        itself = "00000000-0000-0000-0000-000000000001"
        result = load(self.write("ring.json", json.dumps({"sessions": [{"id": itself, "dependencies": [itself]}]})))
        self.assertEqual((1, True), (result.returncode, 'no table "sessions" to load' in result.stderr), result)
        result = load(self.write("notjson.json", "{"))
        self.assertIn("notjson.json", result.stderr)

    def test_ports_taken(self):
        taken = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(taken.close)
        port = taken.getsockname()[1]
        base = ("serve", "--data", self.directory.name, "--event-listen", "tcp://127.0.0.1:*")
        result = run(*base, "--no-internal", "--listen", f"127.0.0.1:{port}")
        self.assertEqual(1, result.returncode)
        self.assertIn(f"cannot listen on 127.0.0.1:{port}", result.stderr)
        self.assertIn("--listen", result.stderr)
        result = run(*base, "--listen", "127.0.0.1:0", "--internal-listen", f"127.0.0.1:{port}")
        self.assertIn("--internal-listen", result.stderr)
        result = run("serve", "--data", self.directory.name, "--listen", "127.0.0.1:0",
                     "--no-internal", "--event-listen", f"tcp://127.0.0.1:{port}")
        self.assertEqual(1, result.returncode)
        self.assertIn("--event-listen", result.stderr)

    def test_one_server_per_database(self):
        with Server() as server:
            result = run("fixture", "load", "--data", server.directory, FIXTURE)
            self.assertEqual(1, result.returncode)
            self.assertIn("manager.db", result.stderr)

    def test_pid_file(self):
        path = os.path.join(self.directory.name, "pid")
        with Server(config=f"[manager]\npid-file = '{path}'\n") as server:
            with open(path, encoding="utf-8") as file:
                self.assertEqual(server.process.pid, int(file.read()))
            self.assertEqual(0, server.stop())
            self.assertFalse(os.path.exists(path))


if __name__ == "__main__":
    unittest.main()
