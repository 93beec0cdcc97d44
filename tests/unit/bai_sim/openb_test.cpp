// Seven pods on two nodes, computed by hand.
#include "sim/openb.hpp"

#include <doctest/doctest.h>

#include <bit>
#include <string>
#include <vector>

#include "sim/text_input.hpp"

using namespace bai;
using namespace bai::sim;

namespace {

OpenbTrace small_trace() {
  const std::string folder = std::string(BAI_SOURCE_DIR) + "/tests/unit/bai_sim/data/";
  OpenbTrace trace;
  trace.podlist = "pods";
  trace.nodes = parse_nodes("nodes.csv", read_input(folder + "nodes.csv").value()).value();
  trace.pods = parse_pods("pods.csv", read_input(folder + "pods.csv").value()).value();
  REQUIRE(parse_stream("s", read_input(folder + "pods.seed7.txt").value(), trace).has_value());
  return trace;
}

OpenbRun run(const OpenbTrace& trace, const std::string& name) {
  auto made = run_openb(trace, *find_place_policy(name).value(), 7, {});
  REQUIRE_MESSAGE(made.has_value(), (made ? "" : made.error().message));
  return std::move(*made);
}

using Where = std::vector<std::pair<std::uint32_t, std::uint32_t>>;
Where where(const OpenbRun& run) {
  Where all;
  for (const Decision& d : run.decisions) all.emplace_back(d.node, d.devices);
  return all;
}
constexpr std::uint32_t kNone = Decision::kNoNode;

// Gives out again what the run says that it gave: nowhere more than there is, on devices of the
// models that a pod allows.
void check_within_capacity(const OpenbTrace& trace, const OpenbRun& run) {
  std::vector<GpuNode> left = trace.nodes;
  std::vector<std::vector<std::int64_t>> devices;
  for (const GpuNode& node : left) {
    devices.emplace_back(static_cast<std::size_t>(node.gpus), kGpuMilli);
  }
  for (std::size_t i = 0; i < run.decisions.size(); ++i) {
    const Decision& d = run.decisions[i];
    if (d.node == kNone) continue;
    CAPTURE(i);
    const Pod& pod = trace.pods[trace.arrivals[i]];
    REQUIRE(d.node < left.size());
    GpuNode& node = left[d.node];
    node.cpu_milli -= pod.cpu_milli;
    node.memory_mib -= pod.memory_mib;
    CHECK(node.cpu_milli >= 0);
    CHECK(node.memory_mib >= 0);
    CHECK(std::popcount(d.devices) == pod.num_gpu);
    CHECK((pod.gpu_spec.empty() || pod.num_gpu == 0 ||
           ('|' + pod.gpu_spec + '|').find('|' + node.model + '|') != std::string::npos));
    for (std::size_t gpu = 0; gpu < 32; ++gpu) {
      if ((d.devices >> gpu & 1U) == 0) continue;
      REQUIRE(gpu < devices[d.node].size());
      devices[d.node][gpu] -= pod.gpu_milli;
      CHECK(devices[d.node][gpu] >= 0);
    }
  }
}

}  // namespace

TEST_CASE("first fit in the stream's order of nodes") {
  const OpenbTrace trace = small_trace();
  const OpenbRun made = run(trace, "FirstFit");
  CHECK(where(made) == Where{{1, 1}, {0, 1}, {1, 1}, {0, 2}, {1, 0}, {kNone, 0}, {0, 1}});
  const Json row = to_json(trace, made);
  CHECK(row["podlist"] == Json("pods"));
  CHECK(row["seed"] == Json(7));
  CHECK(row["arrivals"] == Json(7));
  CHECK(row["placed"] == Json(6));
  CHECK(row["failed"] == Json(1));
  CHECK(row["failed_gpu"] == Json(1));
  CHECK(row["used_milli"] == Json(2900));
  CHECK(row["alloc80"] == Json(50.0));
  CHECK(row["alloc90"] == Json(83.3333));
  CHECK(row["alloc100"] == Json(83.3333));
  CHECK(row["alloc110"] == Json(96.6667));
  CHECK(row["alloc130"] == Json(96.6667));
  CHECK(row["frag_pct_of_idle"] == Json(100.0));
  CHECK(row["fnv64"] == Json("892c0c6ee6c04085"));
}

TEST_CASE("spreading takes the emptiest node, packing the fullest that fits") {
  const OpenbTrace trace = small_trace();
  // The first pod finds 2 free devices on row 0 and 1 on row 1.
  CHECK(where(run(trace, "WorstFitX")).front() == std::pair(0U, 1U));
  CHECK(where(run(trace, "BestFitX")).front() == std::pair(1U, 1U));
}

TEST_CASE("every policy places what it can, and never more than there is") {
  const OpenbTrace trace = small_trace();
  for (const PlacePolicy& policy : place_policies()) {
    CAPTURE(policy.name);
    const OpenbRun made = run(trace, std::string(policy.name));
    CHECK(made.placed + made.failed == 7);
    CHECK(made.placed >= 5);
    CHECK(where(made) == where(run(trace, std::string(policy.name))));
    check_within_capacity(trace, made);
  }
  CHECK(find_place_policy("Tetris").error().message.find("GpuClustering") != std::string::npos);
}

TEST_CASE("fragmentation is what the workload cannot use") {
  std::vector<GpuNode> nodes(2);
  nodes[0].model = "A";
  nodes[1].model = "B";
  const std::vector<PodClass> workload = {
      {3, 1000, 500, 1, ""},   // half a device
      {2, 2000, 1000, 2, ""},  // two whole ones
      {1, 1000, 0, 0, ""},     // none
      {4, 1000, 200, 1, "A"},  // a fifth, on A only
  };
  const Fragmentation f(workload, nodes);
  CHECK(f.pods() == 10);
  // 3 x (300 too small) + 2 x (1300: only one whole) + 1 x 1300 + 4 x 0
  CHECK(f.of(0, 8000, {1000, 300}) == 900 + 2600 + 1300);
  // on B: the last class can use nothing
  CHECK(f.of(1, 8000, {1000, 300}) == 900 + 2600 + 1300 + 5200);
  // 500 cores/1000 left: no class runs
  CHECK(f.of(0, 500, {1000, 300}) == 13'000);
  CHECK(f.of(0, 8000, {0, 0}) == 0);
  CHECK(f.of(0, 8000, {1000, 1000}) == 2000);
}

TEST_CASE("the target workload is the most frequent 95 %") {
  std::vector<Pod> pods;
  const auto add = [&](int count, std::int64_t cpu) {
    for (int i = 0; i < count; ++i) pods.push_back({cpu, 1, 1, 1000, ""});
  };
  add(60, 1000);
  add(35, 2000);
  add(4, 4000);
  add(1, 8000);
  auto workload = target_workload(pods);
  REQUIRE(workload.size() == 2);  // 95 of 100
  CHECK(workload[0].count == 60);
  CHECK(workload[1].cpu_milli == 2000);
  add(1, 8000);
  CHECK(target_workload(pods).size() == 3);  // 95 of 101 are less

  Json options = workload_options({{5, 1500, 250, 1, "A|B"}, {1, 1000, 0, 0, ""}});
  CHECK(options.dump() ==
        R"({"workload":[{"count":5,"cpu":"1.5","device":"0.25","devices":1,"labels":["A","B"]},)"
        R"({"count":1,"cpu":"1","device":"0","devices":0}]})");
}
