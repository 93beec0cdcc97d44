#include <doctest/doctest.h>

#include "rig.hpp"

using namespace rig;

namespace {

struct BatchRig : Rig {
  BatchRig() {
    options.term_grace = milliseconds(300);
    REQUIRE(start_agent());
  }
  BatchFinished run(int n, const std::string& command, std::optional<Duration> timeout = {},
                    const std::string& bootstrap = {}) {
    must_create(n, {.session_type = "batch", .bootstrap = bootstrap});
    const auto reply = call(TriggerBatch{session_id(n), kernel_id(n), command, timeout});
    if (!reply) FAIL(reply.error().message);
    const auto event = event_of<BatchFinished>([&](auto& e) { return e.session == session_id(n); });
    REQUIRE(event);
    return *event;
  }
};

}  // namespace

TEST_CASE_FIXTURE(BatchRig, "a batch command that succeeds") {
  const auto result = run(1, "echo out; echo err >&2; python3 -c 'print(6*7)'; pwd");
  CHECK(result.success);
  CHECK(result.reason == "task-finished");
  CHECK(result.exit_code == 0);
  const std::string log = logs(1);
  CHECK(log.find("out\n") != std::string::npos);
  CHECK(log.find("err\n") != std::string::npos);
  CHECK(log.find("42\n" + (dir(1) / "work").string() + "\n") != std::string::npos);
  const auto again = call(TriggerBatch{session_id(1), kernel_id(1), "echo twice", {}});
  REQUIRE(!again);
  CHECK(again.error().kind == "RuntimeError");
  CHECK(logs(1) == log);
  CHECK(query(1, "1 + 1").out == "2\n");  // its interpreter starts when it is needed
  REQUIRE(destroy(1));
}

TEST_CASE_FIXTURE(BatchRig, "a batch command that fails") {
  const auto result = run(1, "echo no; exit 12");
  CHECK(!result.success);
  CHECK(result.reason == "task-failed");
  CHECK(result.exit_code == 12);
}

TEST_CASE_FIXTURE(BatchRig, "a batch command that is killed") {
  CHECK(run(1, "kill -9 $$").exit_code == 137);
}

TEST_CASE_FIXTURE(BatchRig, "a batch command that takes too long") {
  const auto start = std::chrono::steady_clock::now();
  const auto result =
      run(1, "trap '' TERM; echo started; while :; do sleep 0.1; done", milliseconds(300));
  CHECK(!result.success);
  CHECK(result.reason == "task-timeout");
  CHECK(result.exit_code == -2);
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(5));
  CHECK(wait_until([&] { return processes_of(dir(1)).empty(); }));
  CHECK(logs(1).starts_with("started\n"));
}

TEST_CASE_FIXTURE(BatchRig, "the bootstrap script comes first") {
  const auto result = run(1, "cat made", {}, "sleep 0.2; echo hello > made; echo booted");
  CHECK(result.success);
  CHECK(logs(1) == "booted\nhello\n");
  must_create(2, {.bootstrap = "#!/bin/sh\nsleep 0.1\necho $GREETING > made\nexit 3\n",
                  .environ = {{"GREETING", "moin"}}});
  CHECK(query(2, "open('made').read()").out == "'moin\\n'\n");
  CHECK(logs(2).find("bootstrap script: exit code 3") != std::string::npos);
}

TEST_CASE_FIXTURE(BatchRig, "bad batch commands") {
  must_create(1, {.session_type = "batch"});
  const auto empty = call(TriggerBatch{session_id(1), kernel_id(1), "", {}});
  REQUIRE(!empty);
  CHECK(empty.error().kind == "ValueError");
  const auto unknown = call(TriggerBatch{session_id(2), kernel_id(2), "true", {}});
  REQUIRE(!unknown);
  CHECK(unknown.error().kind == "KeyError");
}

TEST_CASE_FIXTURE(BatchRig, "an outcome that nobody was there to hear is told later") {
  must_create(1, {.session_type = "batch"});
  REQUIRE(call(TriggerBatch{session_id(1), kernel_id(1), "sleep 0.3; exit 4", {}}));
  agent->abandon();
  agent.reset();
  REQUIRE(wait_until([&] { return processes_of(dir(1)).empty(); }));
  REQUIRE(start_agent());
  const auto event = event_of<BatchFinished>();
  REQUIRE(event);
  CHECK(event->exit_code == 4);
  CHECK(!event->success);
  CHECK(call(CheckRunning{kernel_id(1)})->value == Json(true));
  const auto again = call(TriggerBatch{session_id(1), kernel_id(1), "true", {}});
  REQUIRE(!again);  // also after the restart
}

TEST_CASE("the log is bounded and keeps its end") {
  Rig rig;
  rig.options.max_log_bytes = 10'000;
  REQUIRE(rig.start_agent());
  rig.must_create(1, {.session_type = "batch"});
  REQUIRE(rig.call(TriggerBatch{
      session_id(1), kernel_id(1), "for i in $(seq 1 5000); do echo line $i; done", {}}));
  REQUIRE(rig.event_of<BatchFinished>());
  const std::string log = rig.logs(1);
  CHECK(log.size() <= 10'000);
  CHECK(log.size() >= 4'000);
  CHECK(log.ends_with("line 4999\nline 5000\n"));
  REQUIRE(rig.destroy(1));
  CHECK(rig.event_of<KernelTerminated>()->log == log);
}
