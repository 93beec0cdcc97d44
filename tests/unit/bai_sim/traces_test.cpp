// A fast part of the recorded traces, where they are there: BAI_TRACES names their folder, with
// the expected results in it. Left out unless asked for (--no-skip), as the test "recorded_traces"
// does, which counts as skipped when there are none. benchmarks/check_traces.py compares all of
// them, and the test "small_traces" those of our own making.
#include <doctest/doctest.h>

#include <cstdlib>
#include <string>

#include "sim/batch.hpp"
#include "sim/openb.hpp"
#include "sim/text_input.hpp"

using namespace bai;
using namespace bai::sim;

namespace {

// Empty, with a note, when there are no traces here.
std::string traces() {
  const char* folder = std::getenv("BAI_TRACES");
  if (folder == nullptr || *folder == '\0') {
    MESSAGE("SKIPPED: BAI_TRACES names no folder");
    return {};
  }
  return std::string(folder) + "/";
}

void check_batch(const std::string& folder, const std::string& file, const std::string& name,
                 std::int64_t procs, const std::string& policy_name) {
  JobLog log = parse_swf(file, read_input(folder + "swf/" + file).value(), procs).value();
  log.name = name;
  const BatchPolicy* policy = find_batch_policy(policy_name).value();
  const auto run = run_batch(log, one_pool(procs), *policy, policy->settings(), 0, {});
  REQUIRE_MESSAGE(run.has_value(), (run ? "" : run.error().message));
  const Json got = to_json(log, *run);
  const std::string text = read_input(folder + "swf_expected.jsonl").value();
  bool found = false;
  Lines lines("swf_expected.jsonl", text);
  while (lines.next()) {
    const Json expected = Json::parse(lines.line()).value();
    if (expected["log"] != Json(name) || expected["policy"] != Json(policy_name)) continue;
    found = true;
    for (const auto& [key, value] : expected.members()) {
      CAPTURE(key);
      CHECK(got[key].dump() == value.dump());
    }
    CHECK(got.size() == expected.size());
  }
  CHECK(found);
}

void check_openb(const std::string& folder, const std::string& list,
                 const std::string& policy_name) {
  const std::string openb = folder + "openb/";
  OpenbTrace trace;
  trace.podlist = "openb_pod_list_" + list;
  trace.nodes =
      parse_nodes("nodes", read_input(openb + "openb_node_list_gpu_node.csv").value()).value();
  trace.pods = parse_pods("pods", read_input(openb + trace.podlist + ".csv").value()).value();
  const std::string stream = openb + "streams/" + trace.podlist + ".seed42.txt.gz";
  REQUIRE(parse_stream(stream, read_input(stream).value(), trace).has_value());
  const auto run = run_openb(trace, *find_place_policy(policy_name).value(), 42, {});
  REQUIRE_MESSAGE(run.has_value(), (run ? "" : run.error().message));
  const Json got = to_json(trace, *run);
  const std::string text = read_input(folder + "openb_expected.csv").value();
  auto csv = Csv::open("openb_expected.csv", text, {"podlist", "policy", "seed", "fnv64"}).value();
  bool found = false;
  while (csv.next().value()) {
    if (csv.text("podlist") != trace.podlist || csv.text("policy") != policy_name ||
        csv.text("seed") != "42") {
      continue;
    }
    found = true;
    for (const auto& [key, value] : got.members()) {
      CAPTURE(key);
      REQUIRE(csv.has(key));
      if (value.is_string()) {
        CHECK(value.as_string() == csv.text(key));
      } else {
        CHECK(value.as_double() == std::strtod(std::string(csv.text(key)).c_str(), nullptr));
      }
    }
  }
  CHECK(found);
}

}  // namespace

TEST_SUITE_BEGIN("recorded" * doctest::skip());

TEST_CASE("recorded logs: every value of the expected results") {
  const std::string folder = traces();
  if (folder.empty()) return;
  for (const char* policy : {"EASY", "SJF-EASY"}) {
    CAPTURE(policy);
    check_batch(folder, "NASA-iPSC-1993-3.1-cln.swf.gz", "NASA-iPSC", 128, policy);
  }
  check_batch(folder, "lublin_256.swf.gz", "lublin_256", 256, "EASY-SJBF");
}

TEST_CASE("openb: every value of the expected results") {
  const std::string folder = traces();
  if (folder.empty()) return;
  for (const char* policy : {"FGD", "Random"}) {
    CAPTURE(policy);
    check_openb(folder, "default", policy);
  }
}

TEST_CASE("openb: size of the target workload") {
  const std::string folder = traces();
  if (folder.empty()) return;
  const auto size = [&](const std::string& list) {
    const std::string file = folder + "openb/openb_pod_list_" + list + ".csv";
    return target_workload(parse_pods(file, read_input(file).value()).value()).size();
  };
  CHECK(size("default") == 35);
  CHECK(size("gpuspec33") == 127);
}

TEST_SUITE_END();
