"""Signing, versions, errors, limits and health of a running server."""

import json
import socket
import unittest

from bai_client import (ADMIN, FIXTURE, USER, Client, Server, create_body, now_text, signature)


class SignatureVectors(unittest.TestCase):
    """The worked examples of the wire contract, against this independent signer."""

    def test_vectors(self):
        for method, target, content_type, wanted in [
                ("GET", "/folders/_/hosts", "text/plain",
                 "3f50f7abbc00af13419e3c1b339750de96cd1aac3840ed937c0a2449309f92d6"),
                ("POST", "/session", "application/json",
                 "5635a730bb11aba82009cdca5904be737cf2ba19be4fdf3a4b7f584872d630b4"),
                ("DELETE", "/session/mysess?forced=true&recursive=true", "text/plain",
                 "43499136a71196288574343fa26a86ca1ca5e1768a9d405eb1aeb58df0a27b2f"),
                ("GET", "/stream/session/mysess/pty", "application/octet-stream",
                 "820aecc89bb8c18cf081bbc804b5b98b086714d17f8c5c4f6c51d202452dd644")]:
            self.assertEqual(wanted, signature(
                ADMIN[1], method, target, "2026-08-01T12:34:56.789012+00:00", "127.0.0.1:8081",
                content_type))


class Api(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server().start()
        cls.user = cls.server.client()
        cls.admin = cls.server.client(ADMIN)

    @classmethod
    def tearDownClass(cls):
        cls.server.close()

    def signed(self, method="GET", target="/auth/test", **changes):
        """A signed request with some headers replaced (None removes one)."""
        headers = self.user.headers(method, target, "text/plain")
        headers.update(changes.pop("headers", {}))
        return self.user.raw(method, target, headers)

    # ---- hello and authentication

    def test_hello_needs_no_signature(self):
        answer = self.user.raw("GET", "/", {"User-Agent": "x"})
        self.assertEqual(200, answer.status)
        self.assertEqual("v9.20250722", answer.json["version"])
        self.assertRegex(answer.json["manager"], r"^\d+\.\d+")
        self.assertEqual("BackendAI", answer.headers["Server"])
        self.assertEqual("1000", answer.headers["X-RateLimit-Limit"])
        # a bad signature is no matter on a public route
        self.assertEqual(200, self.user.raw("GET", "/", {"Authorization": "nonsense"}).status)

    def test_auth(self):
        answer = self.user("POST", "/auth/test", {"echo": "hello"})
        self.assertEqual((200, {"authorized": "yes", "echo": "hello"}),
                         (answer.status, answer.json))
        self.assertEqual("yes", self.user("GET", "/auth").json["authorized"])

    def test_my_ip(self):
        answer = self.user("GET", "/auth/my-ip")
        self.assertEqual((200, {"client_ip": "127.0.0.1"}), (answer.status, answer.json))
        # without trusted proxies in the configuration, whatever a proxy says is believed
        headers = self.user.headers("GET", "/auth/my-ip", "text/plain")
        headers["X-Forwarded-For"] = "203.0.113.9, 10.0.0.1"
        answer = self.user.raw("GET", "/auth/my-ip", headers)
        self.assertEqual({"client_ip": "203.0.113.9"}, answer.json)
        self.assertEqual(401, self.user.raw("GET", "/auth/my-ip").status)

    def test_missing_content_type_signs_as_octet_stream(self):
        headers = self.user.headers("GET", "/auth/test", "application/octet-stream")
        del headers["Content-Type"]
        self.assertEqual(200, self.user.raw("GET", "/auth/test", headers).status)

    def test_anonymous(self):
        answer = self.user.raw("GET", "/auth/test")
        self.assertIn(answer.problem(), [(401, "auth-failed", "user_auth_unauthorized")])
        self.assertEqual("application/problem+json", answer.headers["Content-Type"])

    def test_wrong_signature(self):
        auth = f"BackendAI signMethod=HMAC-SHA256, credential={USER[0]}:{'0' * 64}"
        answer = self.signed(headers={"Authorization": auth})
        self.assertEqual((401, "auth-failed", "user_auth_unauthorized"), answer.problem())
        self.assertIn("signature", answer.json["msg"].lower())

    def test_signature_of_another_target(self):
        headers = self.user.headers("GET", "/auth/role", "text/plain")
        answer = self.user.raw("GET", "/auth/test", headers)
        self.assertEqual((401, "auth-failed", "user_auth_unauthorized"), answer.problem())

    def test_unknown_access_key(self):
        stranger = Client(self.server.port, ("AKIANOBODY", "secret"))
        answer = stranger("GET", "/auth/test")
        self.assertEqual((401, "auth-failed", "user_auth_unauthorized"), answer.problem())

    def test_skewed_dates(self):
        for offset in (-15 * 60 - 5, 15 * 60 + 5):
            answer = self.user("GET", "/auth/test", date=now_text(offset))
            self.assertEqual((400, "invalid-auth-params", "user_auth_invalid-parameters"),
                             answer.problem())
            self.assertIn("Date/time sync error", answer.json["msg"])
        for offset in (-14 * 60, 14 * 60):
            self.assertEqual(200, self.user("GET", "/auth/test", date=now_text(offset)).status)

    def test_date_missing_or_unreadable(self):
        for date in (None, "yesterday"):
            answer = self.signed(headers={"Date": date})
            self.assertEqual((400, "invalid-auth-params", "user_auth_invalid-parameters"),
                             answer.problem())

    def test_browser_date(self):
        headers = self.user.headers("GET", "/auth/test", "text/plain")
        headers["X-BackendAI-Date"] = headers.pop("Date")
        self.assertEqual(200, self.user.raw("GET", "/auth/test", headers).status)

    def test_malformed_authorization(self):
        known = f"credential={USER[0]}:{'0' * 64}"
        for text in ("Basic abc", "BackendAI", "BackendAI signMethod=HMAC-SHA256",
                     "BackendAI credential=a:b", "BackendAI signMethod=MD5-SHA256, " + known,
                     "BackendAI signMethod=HMAC-CRC32, " + known,
                     "BackendAI signMethod=HMAC-SHA256, credential=nocolon"):
            answer = self.signed(headers={"Authorization": text})
            self.assertEqual((400, "invalid-auth-params"), answer.problem()[:2], text)

    def test_version_missing(self):
        answer = self.signed(headers={"X-BackendAI-Version": None})
        self.assertEqual(400, answer.status)
        self.assertIn("API version missing in request headers", answer.json["msg"])

    def test_version_unknown(self):
        answer = self.user("GET", "/auth/test", version="v99.20990101")
        self.assertEqual((400, "generic-bad-request"), answer.problem()[:2])
        self.assertIn("Unsupported API version", answer.json["msg"])
        # ... but only after authentication
        other = Client(self.server.port, (USER[0], "wrong"))
        self.assertEqual(401, other("GET", "/auth/test", version="v99.20990101").status)

    def test_method_override_keeps_guards(self):
        answer = self.user("GET", "/manager/announcement", extra={"X-Method-Override": "GET"})
        self.assertEqual(200, answer.status)
        answer = self.user("GET", "/cluster/agents/x", extra={"X-Method-Override": "PATCH"})
        self.assertEqual(405, answer.status)  # the path has no GET to begin with
        answer = self.user("POST", "/session/nosuch", {"mode": "query"},
                           extra={"X-Method-Override": "DELETE"})
        self.assertEqual((404, "object-not-found", "session_read_not-found"), answer.problem())
        answer = self.user("GET", "/auth/test", extra={"X-Method-Override": "PURGE"})
        self.assertEqual((405, "method-not-allowed", "api_access_forbidden"), answer.problem())

    def test_act_as(self):
        uuid = "dfa9da54-4b28-432f-be29-c0d680c7a412"
        role = lambda who, value: who("GET", "/auth/role", extra={"X-BackendAI-Act-As": value})
        self.assertEqual("user", role(self.admin, uuid).json["global_role"])
        self.assertEqual((403, "insufficient-privilege"), role(self.user, uuid).problem()[:2])
        self.assertEqual(400, role(self.admin, "x").status)
        self.assertEqual((404, "user-not-found"),
                         role(self.admin, "00000000-0000-0000-0000-000000000001").problem()[:2])

    def test_roles_and_guards(self):
        self.assertEqual("superadmin", self.admin("GET", "/auth/role").json["global_role"])
        self.assertEqual("user", self.user("GET", "/auth/role").json["domain_role"])
        self.assertEqual("running", self.admin("GET", "/manager/status").json["status"])
        for method, target in (("GET", "/manager/status"), ("POST", "/compute-sessions/search"),
                               ("POST", "/agents/search")):
            answer = self.user(method, target, {})
            self.assertEqual((403, "generic-forbidden", "backendai_generic_forbidden"),
                             answer.problem())

    # ---- paths, browsers, rates

    def test_unknown_path_and_method(self):
        answer = self.user("GET", "/no/such?x=1")
        self.assertEqual((404, "url-not-found", "api_read_not-found"), answer.problem())
        self.assertEqual("/no/such", answer.json["data"])
        answer = self.user("PUT", "/session")
        self.assertEqual((405, "method-not-allowed", "api_access_forbidden"), answer.problem())
        self.assertEqual("PUT", answer.json["data"]["method"])
        self.assertIn("POST", answer.json["data"]["allowed_methods"])

    def test_cors(self):
        ask = {"Origin": "http://ui.example", "Access-Control-Request-Method": "POST",
               "Access-Control-Request-Headers": "x-backendai-date, authorization"}
        answer = self.user.raw("OPTIONS", "/session", ask)
        self.assertEqual(200, answer.status)
        self.assertEqual("http://ui.example", answer.headers["Access-Control-Allow-Origin"])
        self.assertEqual("POST", answer.headers["Access-Control-Allow-Methods"])
        self.assertIn("x-backendai-date", answer.headers["Access-Control-Allow-Headers"].lower())
        ask["Access-Control-Request-Method"] = "PUT"
        self.assertEqual(403, self.user.raw("OPTIONS", "/session", ask).status)
        self.assertEqual(403, self.user.raw("OPTIONS", "/session").status)
        answer = self.user("GET", "/auth/test", extra={"Origin": "http://ui.example"})
        self.assertEqual("http://ui.example", answer.headers["Access-Control-Allow-Origin"])
        self.assertIn("X-RateLimit-Limit", answer.headers["Access-Control-Expose-Headers"])

    def test_rate_headers(self):
        answer = self.user("GET", "/auth/test")
        self.assertEqual("None", answer.headers["X-RateLimit-Limit"])
        self.assertEqual("900", answer.headers["X-RateLimit-Window"])
        before = int(answer.headers["X-RateLimit-Remaining"])
        after = int(self.user("GET", "/auth/test").headers["X-RateLimit-Remaining"])
        self.assertEqual(before + 1, after)  # without a limit it is the count

    # ---- bodies

    def test_bodies_that_are_no_json_object(self):
        for body in (b"", b"{", b"[1]", b"\"x\"", b"\xff\xfe"):
            answer = self.user("POST", "/session", body)
            self.assertEqual((400, "generic-bad-request", "api_parsing_bad-request"),
                             answer.problem(), body)
            self.assertEqual("Malformed request body.", answer.json["title"])

    def test_wrong_types(self):
        for field, value in (("name", 5), ("clusterSize", "two"), ("clusterSize", 0),
                             ("type", "fancy"), ("enqueueOnly", "maybe"), ("priority", 101),
                             ("maxWaitSeconds", -1), ("dependencies", ["x"]),
                             ("image", None), ("name", ""), ("config", [])):
            answer = self.user("POST", "/session", create_body("types-1", **{field: value}))
            self.assertEqual((400, "generic-bad-request", "api_parsing_invalid-parameters"),
                             answer.problem(), field)
            self.assertRegex(answer.json["msg"], "name|image" if field in ("name", "image")
                             else field)

    def test_wrong_config(self):
        for config in ({"resources": {"bogus.device": "1"}}, {"resources": {"cpu": "-1"}},
                       {"resources": {"cpu": "many"}}, {"resources": []},
                       {"environ": {"A": 1}}, {"mounts": ["data"]}):
            answer = self.user("POST", "/session", create_body("config-1", config=config))
            self.assertEqual((400, "invalid-api-params", "api_generic_invalid-parameters"),
                             answer.problem(), config)
            self.assertIn("Input validation error", answer.json["msg"])
            self.assertIn(next(iter(config)), answer.json["data"]["config"])

    def test_names_that_cannot_be(self):
        for name in ("abc", "a" * 65, "-abcd", "ab cd", "abcd.", "ab/cd", "ünïcode"):
            answer = self.user("POST", "/session", create_body(name))
            self.assertEqual((400, "invalid-api-params"), answer.problem()[:2], name)
            self.assertIn("4 to 64 characters", answer.json["msg"])

    def test_unknown_things(self):
        for change, wanted in (
                ({"image": "no/such:image"}, (404, "object-not-found", "image_read_not-found")),
                ({"architecture": "mips"}, (404, "object-not-found", "image_read_not-found")),
                ({"group": "nosuch"}, (404, "project-not-found", "group_read_not-found")),
                ({"domain": "nosuch"}, (404, "project-not-found", "group_read_not-found")),
                ({"config": {"scalingGroup": "nosuch"}},
                 (400, "invalid-api-params", "api_generic_invalid-parameters")),
                ({"dependencies": ["00000000-0000-0000-0000-000000000001"]},
                 (404, "object-not-found", "session_read_not-found")),
                ({"owner_access_key": "AKNOBODY"},
                 (400, "invalid-api-params", "api_generic_invalid-parameters")),
                ({"owner_access_key": ADMIN[0]},
                 (403, "generic-forbidden", "backendai_generic_forbidden"))):
            answer = self.user("POST", "/session", create_body("unknown-1", **change))
            self.assertEqual(wanted, answer.problem(), change)

    def test_dependencies_that_cannot_be(self):
        nobody = "00000000-0000-0000-0000-000000000001"
        for target in ("/session", "/session/_/create", "/session/_/what-if"):
            for on, status, said in ((nobody, 404, f"dependencies: there is no session {nobody}"),
                                     ("itself", 400, "dependencies: 'itself' is no session id")):
                answer = self.user("POST", target, create_body("itself", dependencies=[on]))
                self.assertEqual((status, True), (answer.status, said in str(answer.json)), (target, on, answer))
        self.assertEqual(404, self.user("GET", "/session/itself").status)

    def test_callbacks_are_refused(self):
        answer = self.user("POST", "/session",
                           create_body("sess-callback", callback_url="http://127.0.0.1:1/x"))
        self.assertEqual(400, answer.status)
        self.assertIn("callback_url", answer.json["msg"])

    def test_batch_rules(self):
        for change, why in (
                ({"type": "batch"}, "startup"), ({"starts_at": "30m"}, "starts_at"),
                ({"batch_timeout": "5m"}, "batch_timeout"),
                ({"type": "batch", "startupCommand": "ls", "batch_timeout": -1}, "batch_timeout")):
            answer = self.user("POST", "/session", create_body("batch-1", **change))
            self.assertEqual(400, answer.status, change)
            # no agent is here: whatever is accepted is refused for that
            self.assertNotIn("no agent", answer.json["msg"])
            self.assertIn(why, answer.json["msg"])

    def test_no_agent_offers_anything(self):
        answer = self.user("POST", "/session", create_body("noagent-1"))
        self.assertEqual((400, "invalid-api-params"), answer.problem()[:2])
        self.assertIn("no agent", answer.json["msg"])

    def test_too_large_body(self):
        with Server(config="[bai]\nmax-body-bytes = 4096\n") as server:
            answer = server.client()("POST", "/session", create_body("large-1", tag="x" * 5000))
            self.assertEqual((413, "request-entity-too-large"), answer.problem()[:2])
            self.assertEqual("application/problem+json", answer.headers["Content-Type"])

    def test_sessions_that_are_not_there(self):
        for method, path in (("GET", "nosuch"), ("DELETE", "nosuch"), ("GET", "nosuch/logs"),
                             ("GET", "nosuch/status-history"), ("POST", "nosuch/interrupt"),
                             ("GET", "nosuch/history"),
                             ("POST", "nosuch/rename?name=newname"), ("GET", "nosuch/files"),
                             ("GET", "nosuch/why"),
                             ("GET", "00000000-0000-0000-0000-000000000001")):
            answer = self.user(method, "/session/" + path)
            self.assertEqual((404, "object-not-found", "session_read_not-found"),
                             answer.problem(), path)
            self.assertEqual("No such session.", answer.json["title"])
        answer = self.user("DELETE", "/session/nosuch?forced=perhaps")
        self.assertEqual((400, "generic-bad-request"), answer.problem()[:2])

    def test_searches(self):
        answer = self.admin("POST", "/compute-sessions/search", {"limit": 10})
        self.assertEqual({"total": 0, "offset": 0, "limit": 10}, answer.json["pagination"])
        for bad in ({"limit": 0}, {"limit": 1001}, {"offset": -1},
                    {"filter": {"status": ["FLYING"]}}, {"filter": {"name": {"regex": "x"}}},
                    {"order": [{"field": "name"}]}):
            answer = self.admin("POST", "/compute-sessions/search", bad)
            self.assertEqual((400, "generic-bad-request"), answer.problem()[:2], bad)

    def test_cluster(self):
        self.assertEqual({"items": [], "total": 0}, self.user("GET", "/cluster/agents").json)
        images = self.user("GET", "/cluster/images").json["items"]
        self.assertIn("local/python:3", [image["name"] for image in images])
        self.assertEqual([{"name": "default"}],
                         self.user("GET", "/scaling-groups?group=default").json["scaling_groups"])
        self.assertEqual("count", self.user("GET", "/config/resource-slots").json["cpu"])

    # ---- health and metrics

    def test_health(self):
        answer = self.user.raw("GET", "/health")
        self.assertEqual("ok", answer.json["status"])
        for path in ("/health/livez", "/health/readyz"):
            answer = self.user.raw("GET", path)
            self.assertEqual((200, b""), (answer.status, answer.body))
            inner = self.server.internal().raw("GET", path)
            self.assertEqual((200, "ok"), (inner.status, inner.json["status"]))
        inner = self.server.internal().raw("GET", "/health").json
        self.assertEqual(("manager", True),
                         (inner["component"], inner["connectivity"]["overall_healthy"]))

    def test_metrics(self):
        self.user("GET", "/auth/test")
        answer = self.server.internal().raw("GET", "/metrics")
        self.assertEqual(200, answer.status)
        self.assertTrue(answer.headers["Content-Type"].startswith("text/plain; version=0.0.4"))
        text = answer.body.decode()
        self.assertIn('backendai_api_request_count_total{domain="",endpoint="/auth/test",', text)
        self.assertIn('bai_sessions{status="RUNNING"} 0', text)
        self.assertIn("backendai_memory_used_rss", text)
        for name in ("backendai_scheduler_enqueue_success_total 0", "backendai_agent_registry_count 0",
                     "bai_agent_events_ignored_total 0", "bai_agent_rpc_late_replies_total 0",
                     "bai_agent_rpc_disconnects_total 0", "bai_agent_rpc_handshake_failures_total 0",
                     "bai_agent_rpc_ping_failures_total 0", "bai_agent_events_unknown_total 0",
                     "bai_agent_events_repeated_total 0", "bai_agent_events_refused_total 0"):
            self.assertIn(f"\n{name}\n", text)
        # the public port does not offer it
        self.assertEqual(404, self.user("GET", "/metrics").status)


    def test_service_discovery(self):
        internal = self.server.internal()
        answer = internal.raw("GET", "/metrics/service_discovery")
        self.assertEqual(200, answer.status)
        (found,) = answer.json
        self.assertEqual([internal.authority], found["targets"])
        self.assertEqual({"service_id", "service_group", "display_name", "version"},
                         set(found["labels"]))
        self.assertEqual("manager", found["labels"]["service_group"])


class Limits(unittest.TestCase):
    def test_rate_limit(self):
        with open(FIXTURE, encoding="utf-8") as file:
            fixture = json.load(file)
        fixture["keypairs"][1]["rate_limit"] = 3
        fixture["users"][0]["allowed_client_ip"] = ["10.0.0.0/8"]
        with Server() as server:
            path = server.directory + "/limited.json"
            with open(path, "w", encoding="utf-8") as out:
                json.dump(fixture, out)
            self.assertEqual(0, server.stop())
            server.fixture = path
            server.start()
            user = server.client()
            for left in ("2", "1", "0"):
                answer = user("GET", "/auth/test")
                self.assertEqual((200, "3", left),
                                 (answer.status, answer.headers["X-RateLimit-Limit"],
                                  answer.headers["X-RateLimit-Remaining"]))
            answer = user("GET", "/auth/test")
            self.assertEqual((429, "rate-limit-exceeded", "api_access_unavailable"),
                             answer.problem())
            answer = server.client(ADMIN)("GET", "/auth/test")
            self.assertEqual((401, "auth-failed", "user_auth_unauthorized"), answer.problem())
            answer = server.client(ADMIN)("GET", "/auth/test",
                                          extra={"X-Forwarded-For": "10.1.2.3"})
            self.assertEqual(200, answer.status)


class Stopping(unittest.TestCase):
    def test_stops_quickly_and_starts_quickly(self):
        with Server() as server:
            self.assertLess(server.started_in, 2.0)
            idle = socket.create_connection(("127.0.0.1", server.port))
            self.assertEqual(0, server.stop(10))
            idle.close()


if __name__ == "__main__":
    unittest.main()
