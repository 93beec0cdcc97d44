// The parts of the simulated world and their lives.
#include <fmt/format.h>

#include <utility>

#include "sim/simulation.hpp"

namespace bai::sim {
namespace {

constexpr std::size_t kTraceMax = 400;
constexpr std::uint64_t kStepsMax = 5'000'000;  // of one run; more is a livelock

constexpr const char* kFixture = R"({
  "domains": [{"name": "default"}],
  "projects": [{"id": "11111111-0000-0000-0000-000000000001", "name": "default",
                "domain_name": "default", "cohort": "@cohort",
                "total_resource_slots": @quota},
               {"id": "11111111-0000-0000-0000-000000000002", "name": "lab",
                "domain_name": "default", "cohort": "@cohort",
                "total_resource_slots": @quota}],
  "keypair_resource_policies": [{"name": "default", "max_containers_per_session": 10,
                                 "max_concurrent_sessions": @concurrency}],
  "users": [{"uuid": "22222222-0000-0000-0000-000000000001", "email": "ada@example.com",
             "username": "ada", "domain_name": "default", "main_access_key": "AKIAADA"}],
  "keypairs": [{"access_key": "AKIAADA", "secret_key": "secret", "resource_policy": "default",
                "user": "22222222-0000-0000-0000-000000000001"}],
  "project_members": [{"project": "11111111-0000-0000-0000-000000000001",
                       "user": "22222222-0000-0000-0000-000000000001"},
                      {"project": "11111111-0000-0000-0000-000000000002",
                       "user": "22222222-0000-0000-0000-000000000001"}],
  "resource_groups": [{"name": "default", "is_default": true, "scheduler": "@scheduler",
                       "agent_selection_strategy": "@selector", "policy_options": @options}],
  "resource_group_grants": [{"resource_group": "default", "scope_kind": "domain",
                             "scope": "default"}],
  "images": [{"id": "33333333-0000-0000-0000-000000000001",
              "canonical": "example.org/lab/python:3.11", "registry": "example.org"},
             {"id": "33333333-0000-0000-0000-000000000002",
              "canonical": "local/python:3", "registry": "local", "is_local": true}]
})";

void replace(std::string& text, std::string_view what, std::string_view with) {
  for (auto at = text.find(what); at != text.npos; at = text.find(what)) {
    text.replace(at, what.size(), with);
  }
}

}  // namespace

Config Config::from_seed(std::uint64_t seed) {
  Config config;
  config.seed = seed;
  runtime::Random random(seed * 7919);
  config.agents = static_cast<int>(random.between(2, 5));
  config.actions = static_cast<int>(random.between(24, 60));
  switch (seed % 8) {
    case 0:
      break;
    case 1:
      config.network_faults = true;
      break;
    case 2:
      config.agent_faults = true;
      break;
    case 3:
      config.storage_faults = true;
      break;
    case 4:
      config.manager_crashes = true;
      break;
    case 5:
      config.network_faults = config.manager_crashes = config.storage_faults = true;
      break;
    default:
      config.network_faults = config.agent_faults = config.storage_faults = config.manager_crashes =
          true;
  }
  return config;
}

std::string Config::describe() const {
  std::string text = fmt::format("seed {}, {} agents, {} actions", seed, agents, actions);
  if (network_faults) text += ", network faults";
  if (agent_faults) text += ", agent faults";
  if (storage_faults) text += ", storage faults";
  if (manager_crashes) text += ", manager crashes";
  if (crash_point) {
    text += fmt::format(", crash {} commit {}", crash_point->commit_is_lost ? "before" : "after",
                        crash_point->commit);
  }
  return text;
}

Simulation::Simulation(Config config)
    : config_(config),
      was_calm_(config.is_calm()),
      random_(config.seed),
      world_(config.seed, true) {
  build();
}

Simulation::~Simulation() {
  if (cluster_) cluster_->set_sink({});
  if (manager_) manager_->abandon();
}

Options Simulation::options() const {
  Options options;
  options.agent_timeout = seconds(25);
  options.lost_grace = seconds(20);
  options.prepare_timeout = seconds(90);
  options.create_timeout = seconds(90);
  options.terminate_timeout = seconds(60);
  options.recheck_interval = seconds(8);
  options.running_recheck = seconds(45);
  options.command_timeout = seconds(6);
  options.create_call_timeout = seconds(40);
  options.call_timeout = seconds(10);
  options.attempts_max = 5;
  return options;
}

void Simulation::build() {
  planted_ = plant_in_storage(config_.bug, std::shared_ptr<Storage>(make_memory_storage()));
  rows_ = planted_.storage;
  if (config_.bug != Bug::LateCommit) {
    shadow_ = std::make_unique<Shadow>();
    rows_ = shadow_->watch(rows_);
  }
  storage_ = std::shared_ptr<FaultyStorage>(make_faulty_storage(rows_));
  cluster_ =
      std::make_shared<SimulatedCluster>(world_.env().clock, world_.outside(), config_.seed + 1);
  gateway_ = plant_in_gateway(config_.bug, cluster_);
}

bool Simulation::open_manager() {
  auto opened = Manager::open(options(), world_.env(), {storage_, gateway_, {}, {}, {}});
  if (!opened) {
    report("open", opened.error().message);
    return false;
  }
  manager_ = std::move(*opened);
  seen_.reset();
  cluster_->set_sink([this](AgentEvent event, std::move_only_function<void(bool)> done) {
    if (auto* beat = std::get_if<AgentHeartbeat>(&event.body);
        beat && config_.bug == Bug::BoastingAgent) {
      for (auto& [name, text] : beat->info.slots) text = "99999999999";
    }
    manager_->deliver(std::move(event), std::move(done));
  });
  repeat_creations();
  return true;
}

void Simulation::crash_manager() {
  note("the manager crashes");
  cluster_->set_sink({});
  cluster_->disconnect();
  manager_->abandon();
  world_.forget_all();
  manager_.reset();
  planted_.crash();
  seen_.reset();
  calls_open_ = 0;
  for (const auto& creation : creations_) creation->is_in_flight = false;
  crash_in_steps_.reset();
  if (config_.crash_point && !crash_point_over_) {
    crash_point_over_ = true;
    storage_->fail_next_commits(FaultyStorage::Fault::None, 0);
  }
  const auto wait = random_.chance(0.5) ? Duration{} : milliseconds(random_.between(0, 8'000));
  world_.at(world_.now() + wait, [this] { restart_manager(); });
}

void Simulation::restart_manager() {
  note("the manager starts again");
  ++totals_.restarts;
  if (!open_manager()) return;
  check_snapshot(*manager_->snapshot());
  check_reload(*manager_->snapshot());
}

void Simulation::load_fixture() {
  static constexpr const char* kSchedulers[] = {"fifo", "lifo"};
  static constexpr const char* kSelectors[] = {"concentrated", "dispersed", "roundrobin"};
  std::string text = kFixture;
  replace(text, "@scheduler", kSchedulers[random_.below(2)]);
  replace(text, "@selector", kSelectors[random_.below(3)]);
  static constexpr const char* kOptions[] = {
      "{}", R"({"preemption": {"enabled": true}})",
      R"({"preemption": {"enabled": true, "mode": "reschedule", "order": "newest"}})"};
  replace(text, "@options", kOptions[random_.below(3)]);
  replace(text, "@concurrency", random_.chance(0.3) ? "7" : "0");
  // What a project has by itself is enough for every session that may not borrow.
  const bool is_lending = random_.chance(0.5);
  replace(text, "@cohort", is_lending ? "labs" : "");
  replace(text, "@quota", is_lending ? R"({"cpu": "4"})" : "{}");
  auto document = Json::parse(text);
  if (!document) return report("fixture", document.error().message);
  bool is_loaded = false;
  manager_->submit(Caller::system(), LoadFixture{std::move(*document)},
                   [&](Result<LoadFixture::Result> result) {
                     is_loaded = true;
                     if (!result) report("fixture", result.error().message);
                   });
  world_.run();
  if (!is_loaded) report("fixture", "loading the fixture was not answered");
}

void Simulation::add_agents() {
  for (int i = 0; i < config_.agents; ++i) {
    SimAgentSpec spec;
    spec.id = AgentId(fmt::format("agent-{}", i));
    // Half of them are of the kind that would run a batch twice when asked twice.
    spec.version = i % 2 == 0 ? "bai-sim" : "26.8.0";
    spec.capacity = {{"cpu", Amount{random_.between(4, 8) * 1000}}, {"mem", Amount{16LL << 30}}};
    if (i % 2 == 0) spec.capacity.set("cuda.shares", Amount{2000});
    SimBehaviour behaviour;
    behaviour.answer = {milliseconds(1), milliseconds(20)};
    behaviour.pull = {milliseconds(100), seconds(15)};
    behaviour.create = {milliseconds(50), seconds(5)};
    behaviour.destroy = {milliseconds(10), seconds(3)};
    behaviour.batch = {seconds(1), seconds(40)};
    if (config_.agent_faults) behaviour.create_failure = 0.08;
    cluster_->add(std::move(spec), behaviour, milliseconds(random_.between(0, 3000)));
  }
}

bool Simulation::advance(Duration by) {
  const Timestamp until = world_.now() + by;
  while (!finding_ && world_.now() < until) {
    world_.advance_until([this] { return after_step(); }, until - world_.now());
  }
  return !finding_;
}

// Before each task: whether to stop.
bool Simulation::after_step() {
  if (finding_) return true;
  if (++totals_.steps > kStepsMax) {
    report("livelock", fmt::format("{} steps in one run", kStepsMax));
    return true;
  }
  if (!manager_) return false;
  totals_.commits = storage_->commits();
  totals_.spoilt = planted_.spoilt();
  const bool is_crash_point = config_.crash_point && !crash_point_over_ && commits_before_ > 0 &&
                              totals_.commits >= commits_before_ + config_.crash_point->commit;
  if (is_crash_point || (crash_in_steps_ && (*crash_in_steps_)-- == 0)) {
    crash_manager();
    return false;
  }
  SnapshotPtr now = manager_->snapshot();
  if (now == seen_) return false;
  seen_ = std::move(now);
  check_snapshot(*seen_);
  return finding_.has_value();
}

std::optional<Finding> Simulation::run() {
  if (!open_manager()) return finding_;
  load_fixture();
  add_agents();
  if (!advance(seconds(4))) return finding_;
  started_ = world_.now();
  commits_before_ = storage_->commits();
  if (config_.crash_point && config_.crash_point->commit_is_lost) {
    storage_->fail_next_commits(FaultyStorage::Fault::LoseCommit, 1,
                                static_cast<std::uint32_t>(config_.crash_point->commit - 1));
  }
  if (config_.network_faults) set_network(true);
  const std::int64_t pause_ms = 2 * config_.chaos.ms() / config_.actions;
  for (int action = 0; action < config_.actions; ++action) {
    if (!advance(milliseconds(random_.between(0, pause_ms)))) return finding_;
    act();
    cause_trouble();
    if (action % 8 == 0) check_start();
  }
  end_trouble();
  if (!finding_) settle();
  if (!finding_) drain();
  return finding_;
}

void Simulation::report(std::string checker, std::string message) {
  if (finding_) return;
  note(fmt::format("FOUND {}: {}", checker, message));
  finding_ = Finding{std::move(checker), std::move(message)};
}

void Simulation::note(std::string what) {
  if (trace_.size() >= kTraceMax) trace_.erase(trace_.begin(), trace_.begin() + kTraceMax / 4);
  const Duration since = world_.now() - started_;
  trace_.push_back(started_.ns == 0 ? std::move(what)
                                    : fmt::format("{:10.3f} {}", since.seconds(), what));
}

std::string Simulation::trace() const {
  std::string text;
  for (const std::string& line : trace_) text += line + "\n";
  const auto log = world_.log_lines();
  const std::size_t from = log.size() > 20 ? log.size() - 20 : 0;
  for (std::size_t i = from; i < log.size(); ++i) text += "log: " + log[i] + "\n";
  return text;
}

}  // namespace bai::sim
