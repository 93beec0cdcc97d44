// Six jobs on four processors under every batch policy; starts computed by hand.
#include "sim/batch.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "sim/synthetic.hpp"
#include "sim/text_input.hpp"

using namespace bai;
using namespace bai::sim;

namespace {

JobLog six_jobs() {
  const std::string path = std::string(BAI_SOURCE_DIR) + "/tests/unit/bai_sim/data/six_jobs.swf";
  return parse_swf(path, read_input(path).value(), 4).value();
}

BatchRun run(const JobLog& log, const Machine& machine, const std::string& name) {
  const BatchPolicy* policy = find_batch_policy(name).value();
  auto made = run_batch(log, machine, *policy, policy->settings(), 1, {});
  REQUIRE_MESSAGE(made.has_value(), (made ? "" : made.error().message));
  return std::move(*made);
}

using Starts = std::vector<std::int64_t>;

}  // namespace

TEST_CASE("first come, first served: the head holds up everyone") {
  const JobLog log = six_jobs();
  const BatchRun fcfs = run(log, one_pool(4), "FCFS");
  CHECK(fcfs.starts == Starts{0, 10, 20, 20, 20, 25});
  const Json row = to_json(log, fcfs);
  CHECK(row["mean_wait"] == Json(13.333));
  CHECK(row["sum_wait"] == Json(80));
  CHECK(row["mean_bsld"] == Json(1.8583));
  CHECK(row["max_wait"] == Json(20));
  CHECK(row["p50_wait"] == Json(17));
  CHECK(row["p95_wait"] == Json(20));
  CHECK(row["makespan"] == Json(40));
  CHECK(row["util"] == Json(0.60625));
  CHECK(row["backfilled"] == Json(0));
  CHECK(row["fnv64"] == Json("085ced3b6e300d92"));
  CHECK(row["P"] == Json(4));
  CHECK(row["drop"]["over"] == Json(0));
}

TEST_CASE("what is measured after each event") {
  const BatchRun fcfs = run(six_jobs(), one_pool(4), "FCFS");
  const auto at = [&](std::int64_t time) {
    for (const Sample& s : fcfs.samples) {
      if (s.time == time) return s;
    }
    return Sample{};
  };
  CHECK(at(0).busy == 2);
  CHECK(at(5).waiting == 5);
  CHECK(at(10).busy == 4);
  CHECK(at(20).busy == 4);
  CHECK(at(20).waiting == 1);
  CHECK(fcfs.samples.back().time == 40);
  CHECK(fcfs.samples.back().busy == 0);
}

TEST_CASE("shortest job first") {
  const BatchRun sjf = run(six_jobs(), one_pool(4), "SJF");
  CHECK(sjf.starts == Starts{0, 12, 2, 22, 9, 7});
  CHECK(sjf.backfilled == 0);
}

TEST_CASE("backfilling past a head that keeps its start") {
  const JobLog log = six_jobs();
  const BatchRun easy = run(log, one_pool(4), "EASY");
  CHECK(easy.starts == Starts{0, 10, 2, 20, 7, 20});
  CHECK(easy.backfilled == 2);
  const BatchRun shortest = run(log, one_pool(4), "EASY-SJBF");
  CHECK(shortest.starts == Starts{0, 10, 2, 20, 20, 7});
  CHECK(shortest.backfilled == 2);
  const BatchRun conservative = run(log, one_pool(4), "Conservative");
  CHECK(conservative.starts == Starts{0, 10, 2, 20, 7, 20});
}

TEST_CASE("all that end together count for the head, and what it leaves over can be used") {
  JobLog log;
  log.jobs = {{.submit = 0, .run = 10, .estimate = 10, .procs = 1},
              {.submit = 0, .run = 10, .estimate = 10, .procs = 1},
              {.submit = 1, .run = 5, .estimate = 5, .procs = 3},
              {.submit = 2, .run = 100, .estimate = 100, .procs = 1},
              {.submit = 3, .run = 100, .estimate = 100, .procs = 1}};
  CHECK(run(log, one_pool(4), "EASY").starts == Starts{0, 0, 10, 2, 15});
}

TEST_CASE("estimates decide, unless everything is known") {
  JobLog log;
  log.jobs = {{.submit = 0, .run = 10, .estimate = 10, .procs = 3},
              {.submit = 1, .run = 5, .estimate = 5, .procs = 4},
              {.submit = 2, .run = 4, .estimate = 50, .procs = 1}};
  CHECK(run(log, one_pool(4), "EASY").starts == Starts{0, 10, 15});
  CHECK(run(log, one_pool(4), "EASY-clair").starts == Starts{0, 10, 2});
  log.jobs[2].estimate = 8;
  log.jobs[2].run = 8;
  CHECK(run(log, one_pool(4), "SJF").starts == Starts{0, 10, 15});
  const BatchRun sjf_easy = run(log, one_pool(4), "SJF-EASY");
  CHECK(sjf_easy.starts == Starts{0, 10, 2});
  CHECK(sjf_easy.backfilled == 1);
}

TEST_CASE("equal jobs go in file order") {
  JobLog log;
  for (int i = 0; i < 300; ++i) log.jobs.push_back({.submit = 0, .run = 1, .estimate = 1});
  for (const char* policy : {"FCFS", "SJF"}) {
    const BatchRun one_by_one = run(log, one_pool(1), policy);
    for (std::size_t i = 0; i < log.jobs.size(); ++i) {
      REQUIRE(one_by_one.starts[i] == static_cast<std::int64_t>(i));
    }
  }
}

TEST_CASE("a clock that would overflow is an error") {
  JobLog log;
  for (int i = 0; i < 3; ++i) {
    log.jobs.push_back({.submit = 0, .run = kSecondsMax, .estimate = kSecondsMax});
  }
  const BatchPolicy* policy = find_batch_policy("FCFS").value();
  const auto made = run_batch(log, one_pool(1), *policy, policy->settings(), 1, {});
  REQUIRE_FALSE(made.has_value());
  CHECK(made.error().message.find("simulated time") != std::string::npos);
}

TEST_CASE("settings that name no policy are refused") {
  CHECK(find_batch_policy("fifo-magic").error().code == ErrorCode::NotFound);
  CHECK(find_batch_policy("FIFO").error().message.find("EASY-SJBF-clair") != std::string::npos);
  CHECK(find_batch_policy("easy-sjbf").value()->name == "EASY-SJBF");
  const BatchPolicy* policy = find_batch_policy("FCFS").value();
  ResourceGroup settings = policy->settings();
  settings.selector = "best-ever";
  CHECK(run_batch(six_jobs(), one_pool(4), *policy, settings, 1, {}).error().code ==
        ErrorCode::NotFound);
}

TEST_CASE("generated work is the same for the same seed, and all of it runs under every policy") {
  for (const std::int64_t agents : {1, 7, 20}) {
    const Synthetic made = generate({.agents = agents, .sessions = 150, .seed = 5, .load = 1.2});
    const Synthetic again = generate({.agents = agents, .sessions = 150, .seed = 5, .load = 1.2});
    REQUIRE(made.log.jobs.size() == 150);
    for (const BatchPolicy& policy : batch_policies()) {
      CAPTURE(policy.name);
      const BatchRun first = run(made.log, made.machine, std::string(policy.name));
      CHECK(first.starts == run(again.log, again.machine, std::string(policy.name)).starts);
      for (std::size_t i = 0; i < first.starts.size(); ++i) {
        REQUIRE(first.starts[i] >= made.log.jobs[i].submit - made.log.jobs[0].submit);
      }
    }
  }
  const Synthetic other = generate({.agents = 20, .sessions = 150, .seed = 6, .load = 1.2});
  const Synthetic one = generate({.agents = 20, .sessions = 150, .seed = 5, .load = 1.2});
  CHECK(run(other.log, other.machine, "FCFS").starts != run(one.log, one.machine, "FCFS").starts);
}
