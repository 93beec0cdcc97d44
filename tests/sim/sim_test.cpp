// BAI_SIM_SEED=17 runs one seed and tells its story; BAI_SIM_SEEDS=1000 runs more of them, from
// BAI_SIM_FIRST on. BAI_SIM_BRIEF=1 dies at every seventh commit only and plants no bugs: for
// builds that are many times slower. Seeds that fail are kept in a file of the build folder and
// run first the next time, until they pass.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <set>

#include "sim/simulation.hpp"

using namespace bai;
using namespace bai::sim;

namespace {

constexpr std::uint64_t kSeeds = 50;
constexpr std::uint64_t kSeedsForBugs = 24;  // a planted bug must show within so many
constexpr std::uint64_t kCrashPointsMax = 400;

std::uint64_t number_from(const char* name, std::uint64_t fallback) {
  const char* text = std::getenv(name);
  return text ? std::strtoull(text, nullptr, 10) : fallback;
}

std::string tell(const Config& config, const Finding& finding, const Simulation& simulation) {
  return fmt::format("{}: {}\n{}\nAgain: BAI_SIM_SEED={} sim -tc='*seeds*'\n{}", finding.checker,
                     finding.message, config.describe(), config.seed, simulation.trace());
}

void add_up(Totals& sum, const Totals& part) {
  sum.steps += part.steps;
  sum.checks += part.checks;
  sum.reloads += part.reloads;
  sum.restarts += part.restarts;
  sum.commits += part.commits;
  sum.accepted += part.accepted;
  sum.refused += part.refused;
  sum.calls += part.calls;
  sum.ran += part.ran;
  sum.batches += part.batches;
  sum.preempted += part.preempted;
}

// The seeds that failed, in a file next to the programs, one a line.
class KeptSeeds {
 public:
  KeptSeeds() {
    std::ifstream file(path());
    for (std::uint64_t seed = 0; file >> seed;) seeds_.insert(seed);
  }
  static std::string path() { return BAI_BIN_DIR "/../sim_failing_seeds.txt"; }
  const std::set<std::uint64_t>& seeds() const { return seeds_; }
  void note(std::uint64_t seed, bool has_failed) {
    const bool is_new = has_failed ? seeds_.insert(seed).second : seeds_.erase(seed) > 0;
    if (!is_new) return;
    std::ofstream file(path());
    for (const std::uint64_t one : seeds_) file << one << "\n";
  }

 private:
  std::set<std::uint64_t> seeds_;
};

}  // namespace

TEST_CASE("simulation: seeds") {
  const std::uint64_t only = number_from("BAI_SIM_SEED", 0);
  const std::uint64_t first = only ? only : number_from("BAI_SIM_FIRST", 1);
  const std::uint64_t count = only ? 1 : number_from("BAI_SIM_SEEDS", kSeeds);
  KeptSeeds kept;
  std::vector<std::uint64_t> seeds;
  if (!only) seeds.assign(kept.seeds().begin(), kept.seeds().end());
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    if (only || !kept.seeds().contains(seed)) seeds.push_back(seed);
  }
  Totals totals;
  std::uint64_t failed = 0;
  for (const std::uint64_t seed : seeds) {
    const Config config = Config::from_seed(seed);
    Simulation simulation(config);
    const auto finding = simulation.run();
    add_up(totals, simulation.totals());
    kept.note(seed, finding.has_value());
    if (finding) {
      ++failed;
      FAIL_CHECK(tell(config, *finding, simulation));
      if (failed >= 3) break;
    } else if (only) {
      std::printf("%s", simulation.trace().c_str());
    }
  }
  fmt::print(
      "simulation: {} seeds from {}, {} failed; {} steps, {} checks, {} reloads, {} commits, {} "
      "manager restarts, {} sessions accepted, {} refused, {} ran, {} batches, {} preempted, {} "
      "calls\n",
      count, first, failed, totals.steps, totals.checks, totals.reloads, totals.commits,
      totals.restarts, totals.accepted, totals.refused, totals.ran, totals.batches,
      totals.preempted, totals.calls);
  if (!kept.seeds().empty()) fmt::print("simulation: failing seeds are in {}\n", kept.path());
  if (!only && failed == 0 && count >= kSeeds) {  // the simulation itself must not fall asleep
    CHECK(totals.ran > 20 * count / 2);
    CHECK(totals.batches > count);
    CHECK(totals.restarts > count);
    CHECK(totals.refused > 0);
    CHECK(totals.preempted > count / 10);
    CHECK(totals.reloads > 5 * count);
  }
}

TEST_CASE("simulation: the same seed tells the same story") {
  const auto story = [](std::uint64_t seed) {
    Simulation simulation(Config::from_seed(seed));
    simulation.run();
    return simulation.trace();
  };
  CHECK(story(7) == story(7));
  CHECK(story(7) != story(15));
}

TEST_CASE("simulation: the manager dies at every commit, before and after") {
  if (number_from("BAI_SIM_SEED", 0)) return;
  const std::uint64_t step = number_from("BAI_SIM_BRIEF", 0) ? 7 : 1;
  std::uint64_t points = 0;
  for (const bool is_lost : {false, true}) {
    for (std::uint64_t commit = 1; commit <= kCrashPointsMax; commit += step) {
      Config config;
      config.seed = 4;
      config.agents = 2;
      config.actions = 10;
      config.chaos = seconds(40);
      config.crash_point = CrashPoint{commit, is_lost};
      Simulation simulation(config);
      const auto finding = simulation.run();
      if (finding) FAIL(tell(config, *finding, simulation));
      if (simulation.totals().restarts == 0) break;  // it did not commit so often
      ++points;
    }
  }
  fmt::print("simulation: {} crash points\n", points);
  CHECK(points > 40 / step);  // a story too short to be crashed proves nothing
}

TEST_CASE("simulation: planted bugs are found") {
  if (number_from("BAI_SIM_SEED", 0) || number_from("BAI_SIM_BRIEF", 0)) return;
  const std::vector<std::tuple<Bug, const char*, std::vector<std::string>>> bugs = {
      {Bug::LateCommit,
       "a commit is acknowledged before it is durable",
       {"lost-session", "risen", "start", "orphan", "created-twice", "liveness"}},
      {Bug::TwiceTriggered, "a batch is triggered twice", {"batch-twice", "outcome"}},
      {Bug::LostDestroy, "a destroy is reported and not sent", {"orphan"}},
      {Bug::BoastingAgent, "more capacity is believed in than there is", {"overcommit"}},
      {Bug::DroppedReply, "an answer is dropped", {"liveness"}},
      {Bug::ForgottenField, "a column is not stored", {"restart"}},
      {Bug::LostWrite, "a write is acknowledged and lost", {"restart"}},
  };
  for (const auto& [bug, what, checkers] : bugs) {
    INFO(what);
    std::optional<Finding> found;
    Totals totals;
    std::uint64_t seed = 0;
    while (!found && seed++ < kSeedsForBugs) {
      Config config = Config::from_seed(seed);
      config.bug = bug;
      Simulation simulation(config);
      found = simulation.run();
      totals = simulation.totals();
    }
    REQUIRE(found);
    CAPTURE(found->message);
    // What storage does not keep shows after that very commit.
    const bool is_spoilt = bug == Bug::ForgottenField || bug == Bug::LostWrite;
    CHECK(totals.spoilt == (is_spoilt ? 1 : 0));
    CHECK(std::ranges::find(checkers, found->checker) != checkers.end());
    fmt::print("simulation: {}: found by {} with seed {}: {}\n", what, found->checker, seed,
               found->message);
  }
}
