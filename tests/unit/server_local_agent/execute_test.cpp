#include <doctest/doctest.h>
#include <fmt/core.h>

#include "rig.hpp"

using namespace rig;

namespace {

std::string console_text(const Json& console) { return console.dump(); }

struct PythonKernel : Rig {
  PythonKernel() {
    REQUIRE(start_agent());
    must_create(1);
  }
};

}  // namespace

TEST_CASE_FIXTURE(PythonKernel, "python: output, values, state and exceptions") {
  auto run = query(1, "print('hello')");
  CHECK(run.out == "hello\n");
  CHECK(run.err.empty());
  CHECK(run.status == "finished");
  CHECK(run.exit_code == 0);

  CHECK(query(1, "x = 20").out.empty());
  CHECK(query(1, "y = 2\nx * y + 2").out == "42\n");
  CHECK(query(1, "_ + 1").out == "43\n");
  CHECK(query(1, "None").out.empty());
  CHECK(query(1, "def f(n):\n  return n * 2\n\nprint(f('ab'))").out == "abab\n");
  CHECK(query(1, "").status == "finished");
  CHECK(query(1, "print('ä€𝄞')").out == "ä€𝄞\n");

  run = query(1, "print('before')\n1 / 0\nprint('after')");
  CHECK(run.out == "before\n");
  CHECK(run.exit_code == 1);
  CHECK(run.err.starts_with("Traceback (most recent call last):\n  File \"<run "));
  CHECK(run.err.find("1 / 0") != std::string::npos);
  CHECK(run.err.ends_with("ZeroDivisionError: division by zero\n"));
  CHECK(run.err.find("evaluate") == std::string::npos);  // none of the runner's own frames

  run = query(1, "print(1");
  CHECK(run.exit_code == 1);
  CHECK(run.err.find("SyntaxError") != std::string::npos);
  CHECK(query(1, "x").out == "20\n");  // and everything is still there

  CHECK(query(1, "import sys; sys.exit(3)").exit_code == 3);
  run = query(1, "raise SystemExit('bye')");
  CHECK(run.exit_code == 1);
  CHECK(run.err == "bye\n");
  CHECK(query(1, "x").out == "20\n");
  CHECK(query(1, "'\\ud800' and print('\\ud800')").out == "\\ud800\n");
  CHECK(query(1, "import pickle\nclass P: pass\ntype(pickle.loads(pickle.dumps(P()))).__name__")
            .out == "'P'\n");
}

TEST_CASE_FIXTURE(PythonKernel,
                  "python: the order of both streams, and output of other processes") {
  const auto run = query(
      1,
      "import sys, os, subprocess\n"
      "print('a')\nprint('b', file=sys.stderr)\nprint('c', end='')\nprint('d', file=sys.stderr)\n"
      "print('e')\n"
      "os.system('echo f')\n"
      "subprocess.run(['sh', '-c', 'echo g >&2'])\nNone");
  CHECK(
      console_text(run.console) ==
      R"([["stdout","a\n"],["stderr","b\n"],["stdout","c"],["stderr","d\n"],["stdout","e\nf\n"],["stderr","g\n"]])");
  // Bytes that are no UTF-8 do not break the answer.
  CHECK(query(1, "os.write(1, b'x\\xff\\xe2\\x82')\nNone").out == "x\uFFFD\uFFFD");
  // Many lines arrive whole.
  const auto many = query(1, "for i in range(20000): print(i)");
  CHECK(many.out.size() == 108890);
  CHECK(many.out.ends_with("19998\n19999\n"));
}

TEST_CASE_FIXTURE(PythonKernel, "python: input and passwords") {
  Json result = step(1, "query", "r1", "name = input('name? ')\nprint('hi', name)");
  CHECK(result["status"].as_string() == "waiting-input");
  CHECK(result["options"]["is_password"] == Json(false));
  CHECK(console_text(result["console"]) == R"([["stdout","name? "]])");
  // Asking again instead of answering says the same.
  CHECK(step(1, "continue", "r1", "")["status"].as_string() == "waiting-input");
  result = step(1, "input", "r1", "Ada");
  CHECK(result["status"].as_string() == "finished");
  CHECK(console_text(result["console"]) == R"([["stdout","hi Ada\n"]])");

  result = step(1, "query", "r2",
                "import getpass, sys\nprint(getpass.getpass()[::-1])\nsys.stdin.readline()");
  CHECK(result["status"].as_string() == "waiting-input");
  CHECK(result["options"]["is_password"] == Json(true));
  result = step(1, "input", "r2", "abc");
  CHECK(result["status"].as_string() == "waiting-input");
  CHECK(result["options"]["is_password"] == Json(false));
  CHECK(console_text(result["console"]) == R"([["stdout","cba\n"]])");
  result = step(1, "input", "r2", "line\n");
  CHECK(console_text(result["console"]) == R"([["stdout","'line\\n'\n"]])");

  auto refused =
      call(Execute{session_id(1), kernel_id(1), "r2", "input", "late", Json::object(), {}});
  REQUIRE(!refused);
  CHECK(refused.error().kind == "ValueError");
}

TEST_CASE_FIXTURE(PythonKernel, "python: a long run is continued piece by piece") {
  Json result = step(1, "query", "long",
                     "import time\nfor i in range(3):\n  print(i, flush=True); time.sleep(0.25)",
                     milliseconds(100));
  CHECK(result["status"].as_string() == "continued");
  CHECK(result["exitCode"].is_null());
  std::string out = std::string(result["console"].items().at(0).items()[1].as_string());
  int continued = 0;
  while (result["status"].as_string() == "continued" && continued < 50) {
    result = step(1, "continue", "long", "", milliseconds(100));
    for (const Json& item : result["console"].items()) out += item.items()[1].as_string();
    ++continued;
  }
  CHECK(out == "0\n1\n2\n");
  CHECK(continued >= 4);
  CHECK(result["status"].as_string() == "finished");
  auto gone =
      call(Execute{session_id(1), kernel_id(1), "long", "continue", "", Json::object(), {}});
  REQUIRE(!gone);
  CHECK(gone.error().kind == "ValueError");
  CHECK(gone.error().message.find("not in progress") != std::string::npos);
}

TEST_CASE_FIXTURE(PythonKernel,
                  "python: runs wait for each other, and a lost caller's output is kept") {
  CHECK(step(1, "query", "one", "import time; print('first'); time.sleep(0.4)",
             milliseconds(50))["status"]
            .as_string() == "continued");
  const Json second = step(1, "query", "two", "print('second')");  // waits for its turn
  CHECK(console_text(second["console"]) == R"([["stdout","second\n"]])");
  const Json first = step(1, "continue", "one", "");
  CHECK(first["status"].as_string() == "finished");

  // The caller gives up before the answer: a cancel arrives, nothing is lost.
  const auto late = call(Execute{session_id(1),
                                 kernel_id(1),
                                 "three",
                                 "query",
                                 "print('kept', flush=True); time.sleep(0.4); print('end')",
                                 Json::object(),
                                 {}},
                         milliseconds(150));
  REQUIRE(!late);
  CHECK(late.error().code == ErrorCode::DeadlineExceeded);
  const Json kept = step(1, "continue", "three", "");
  CHECK(console_text(kept["console"]) == R"([["stdout","kept\nend\n"]])");

  auto twice =
      call(Execute{session_id(1), kernel_id(1), "three", "nonsense", "", Json::object(), {}});
  REQUIRE(!twice);
  CHECK(twice.error().message.find("nonsense") != std::string::npos);
}

TEST_CASE_FIXTURE(PythonKernel, "python: interrupt") {
  for (const char* code : {"import time; time.sleep(60)", "while True: pass", "input('?')",
                           "import subprocess; subprocess.run(['sleep', '60'])"}) {
    CAPTURE(code);
    const std::string id = std::string("run ") + code;
    const Json started = step(1, "query", id, code, milliseconds(150));
    CHECK(started["status"].as_string() != "finished");
    const auto reply = call(InterruptKernel{kernel_id(1)});
    REQUIRE(reply);
    CHECK(reply->value["status"].as_string() == "finished");
    const Json result = step(1, "continue", id, "");
    CHECK(result["status"].as_string() == "finished");
    CHECK(result["exitCode"].as_int() == 130);
    CHECK(console_text(result["console"]).find("KeyboardInterrupt") != std::string::npos);
  }
  REQUIRE(call(InterruptKernel{kernel_id(1)}));  // when idle: nothing happens
  CHECK(query(1, "print('alive')").out == "alive\n");
}

TEST_CASE_FIXTURE(PythonKernel, "python: completions") {
  query(1, "import math; my_value = 1");
  const auto ask = [&](std::string text, Json opts) {
    auto reply = call(GetCompletions{kernel_id(1), std::move(text), std::move(opts)});
    REQUIRE(reply);
    CHECK(reply->value["result"]["status"].as_string() == "finished");
    return reply->value["result"]["suggestions"].dump();
  };
  CHECK(ask("x = math.sq", Json::object()) == R"(["math.sqrt"])");
  CHECK(ask("my_va", Json::object({{"row", 0}, {"col", 4}, {"line", "my_vaXX"}, {"post", ""}})) ==
        R"(["my_value"])");
  CHECK(ask("nothing_like_this", Json::object()) == "[]");
  step(1, "query", "busy", "import time; time.sleep(0.3)", milliseconds(20));
  auto busy = call(GetCompletions{kernel_id(1), "math.", Json::object()});
  REQUIRE(busy);
  CHECK(busy->value["result"]["status"].as_string() == "failed");
}

TEST_CASE("the limits of runs") {
  Rig rig;
  rig.options.max_console_bytes = 1000;
  REQUIRE(rig.start_agent());
  rig.must_create(1, {.mem = "134217728"});
  SUBCASE("uncollected output is bounded, and says so") {
    const auto run =
        rig.query(1, "import sys\nfor i in range(200):\n  print('0123456789', flush=True)");
    CHECK(run.out.size() <= 1000);
    CHECK(run.err.find("bytes of output dropped") != std::string::npos);
    CHECK(rig.logs(1).size() >= 2200);  // the log has all of it
  }
  SUBCASE("queued runs") {
    rig.query(1, "1");
    rig.step(1, "query", "first", "import time; time.sleep(1)", milliseconds(10));
    Result<AgentReply> reply;
    int accepted = 0;
    for (; accepted < 100; ++accepted) {
      reply = rig.call(Execute{session_id(1), kernel_id(1), fmt::format("q{}", accepted), "query",
                               "1", Json::object(), milliseconds(0)});
      if (!reply) break;
    }
    CHECK(accepted == 64);
    REQUIRE(!reply);
    CHECK(reply.error().kind == "ResourceError");
  }
  SUBCASE("requests") {
    const auto reply = rig.call(Execute{session_id(1),
                                        kernel_id(1),
                                        "big",
                                        "query",
                                        std::string(33 << 20, '#'),
                                        Json::object(),
                                        {}});
    REQUIRE(!reply);
    CHECK(reply.error().kind == "ValueError");
    CHECK(rig.query(1, "print('alive')").out == "alive\n");
  }
  SUBCASE("finished runs that nobody collects") {
    for (int i = 0; i < 20; ++i) rig.step(1, "query", fmt::format("f{}", i), "1", milliseconds(0));
    CHECK(rig.query(1, "print('after')").out == "after\n");
    CHECK(
        !rig.call(Execute{session_id(1), kernel_id(1), "f0", "continue", "", Json::object(), {}}));
    CHECK(rig.step(1, "continue", "f19", "")["status"].as_string() == "finished");
  }
  SUBCASE("memory of a process") {
    const auto run = rig.query(1, "x = bytearray(1 << 29)");
    CHECK(run.err.find("MemoryError") != std::string::npos);
    CHECK(rig.query(1, "print('alive')").out == "alive\n");
  }
}

TEST_CASE_FIXTURE(PythonKernel, "batch mode of execute") {
  auto uploaded = call(UploadFile{kernel_id(1), "main.py", [] {
                                    const std::string_view text =
                                        "print('main')\nraise SystemExit(4)\n";
                                    return Bytes(text.begin(), text.end());
                                  }()});
  REQUIRE(uploaded);
  Json all =
      Json::object({{"clean", "echo cleaning"}, {"build", "echo building >&2"}, {"exec", "*"}});
  Json result = step(1, "batch", "b1", "", seconds(5), all);
  CHECK(result["status"].as_string() == "clean-finished");
  CHECK(result["exitCode"].as_int() == 0);
  CHECK(console_text(result["console"]) == R"([["stdout","cleaning\n"]])");
  result = step(1, "continue", "b1", "");
  CHECK(result["status"].as_string() == "build-finished");
  CHECK(console_text(result["console"]) == R"([["stderr","building\n"]])");
  result = step(1, "continue", "b1", "");
  CHECK(result["status"].as_string() == "finished");
  CHECK(result["exitCode"].as_int() == 4);
  CHECK(console_text(result["console"]) == R"([["stdout","main\n"]])");

  // A failing build leaves nothing to execute.
  result = step(1, "batch", "b2", "", seconds(5),
                Json::object({{"clean", nullptr}, {"build", "exit 9"}, {"exec", "echo never"}}));
  CHECK(result["status"].as_string() == "build-finished");
  CHECK(result["exitCode"].as_int() == 9);
  result = step(1, "continue", "b2", "");
  CHECK(result["status"].as_string() == "finished");
  CHECK(result["exitCode"].as_int() == 127);
  CHECK(result["console"].size() == 0);

  step(1, "batch", "b3", "", milliseconds(100), Json::object({{"exec", "sleep 60; echo no"}}));
  REQUIRE(call(InterruptKernel{kernel_id(1)}));
  result = step(1, "continue", "b3", "");
  CHECK(result["exitCode"].as_int() == 130);
}

TEST_CASE("shell kernels keep their state") {
  Rig rig;
  REQUIRE(rig.start_agent());
  rig.must_create(1, {.image = std::string(kShell), .environ = {{"GREETING", "moin"}}});
  auto run = rig.query(1, "x=5; cd /tmp; echo $GREETING");
  CHECK(run.out == "moin\n");
  CHECK(rig.query(1, "echo $x; pwd; echo oops >&2").console.dump() ==
        R"([["stdout","5\n/tmp\n"],["stderr","oops\n"]])");
  CHECK(rig.query(1, "ls /nowhere").exit_code == 2);
  CHECK(rig.query(1, "(exit 7)").exit_code == 7);
  run = rig.query(1, "if true; then");
  CHECK(run.exit_code != 0);
  CHECK(run.err.find("syntax error") != std::string::npos);
  CHECK(rig.query(1, "read line; echo \"[$line]\"").out == "[]\n");  // no input: end of file

  rig.step(1, "query", "s", "sleep 60; echo no", milliseconds(100));
  REQUIRE(rig.call(InterruptKernel{kernel_id(1)}));
  const Json result = rig.step(1, "continue", "s", "");
  CHECK(result["exitCode"].as_int() == 130);
  CHECK(result["console"].size() == 0);
  CHECK(rig.query(1, "echo $x").out == "5\n");
  const std::string big(300'000, 'y');
  CHECK(rig.query(1, "v=" + big + "; echo ${#v}").out == "300000\n");

  CHECK(rig.query(1, "exit 3").exit_code == 3);
  const auto ended = rig.event_of<KernelTerminated>();
  REQUIRE(ended);
  CHECK(ended->reason == "self-terminated");
  CHECK(ended->exit_code == 3);
}
