// The whole system on one thread and virtual time, from one seed: a manager that crashes, agents
// that fail, a network and a storage that cannot be trusted, clients that want sessions - and
// checkers that know what must hold regardless.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "bai_manager/manager.hpp"
#include "bai_manager/manual_env.hpp"
#include "bai_manager/sim_agents.hpp"
#include "runtime/random.hpp"
#include "sim/shadow.hpp"

namespace bai::sim {

// Bugs that the checkers must find: each stands for a mistake that a manager, a storage backend or
// a gateway could make.
enum class Bug : std::uint8_t {
  None,
  LateCommit,      // a commit is acknowledged before it is durable
  TwiceTriggered,  // a batch command is sent a second time
  LostDestroy,     // a destroy is reported as done without having been sent
  BoastingAgent,   // more capacity is believed in than there is
  DroppedReply,    // a client's answer never comes
  ForgottenField,  // storage does not keep one column of one table
  LostWrite,       // storage acknowledges a commit and leaves one of its rows as it was
};

// The manager dies when storage has seen this many commits since the clients began.
struct CrashPoint {
  std::uint64_t commit = 0;
  bool commit_is_lost = false;  // it dies before storage has applied the commit, else right after
};

struct Config {
  std::uint64_t seed = 1;
  int agents = 3;
  int actions = 60;               // of clients
  Duration chaos = seconds(300);  // how long they go on
  bool network_faults = false;    // loss, delay, duplication, reordering in both directions
  bool agent_faults = false;      // crashes, hangs, dead kernels, failed creations, partitions
  bool storage_faults = false;    // refused and unknown commits
  bool manager_crashes = false;
  std::optional<CrashPoint> crash_point;
  Bug bug = Bug::None;

  // What a seed stands for: every fault alone, all of them and none.
  static Config from_seed(std::uint64_t seed);
  bool is_calm() const {
    return !network_faults && !agent_faults && !storage_faults && !manager_crashes && !crash_point;
  }
  std::string describe() const;
};

struct Finding {
  std::string checker;  // "invariants", "lost-session", "orphan", ...
  std::string message;
};

struct Totals {
  std::uint64_t steps = 0, checks = 0, reloads = 0, restarts = 0, commits = 0;
  std::uint64_t spoilt = 0;  // commits that a planted bug has touched
  std::uint64_t accepted = 0, refused = 0, calls = 0, ran = 0, batches = 0, preempted = 0;
};

// Decorators for the bugs; `bug` None gives `inner` back.
std::shared_ptr<AgentGateway> plant_in_gateway(Bug bug, std::shared_ptr<AgentGateway> inner);
struct PlantedStorage {
  std::shared_ptr<Storage> storage;
  std::function<void()> crash = [] {};  // what a crash does to a commit that is not durable yet
  std::function<std::uint64_t()> spoilt = [] { return 0; };  // commits so far
};
PlantedStorage plant_in_storage(Bug bug, std::shared_ptr<Storage> inner);

class Simulation {
 public:
  explicit Simulation(Config config);
  ~Simulation();
  Simulation(const Simulation&) = delete;
  Simulation& operator=(const Simulation&) = delete;

  // Nothing: everything held.
  std::optional<Finding> run();

  const Totals& totals() const { return totals_; }
  std::string trace() const;  // the last things that happened, for people

 private:
  struct Accepted {
    std::string name;
    SessionType type = SessionType::Interactive;
    bool destroy_asked = false;
    bool destroy_done = false;  // and answered
    bool ran = false;
    std::uint32_t preempted = 0;  // and waited again
    SessionStatus last = SessionStatus::Pending;
  };
  struct Creation {
    CreateSession request;
    bool is_in_flight = false;
    bool is_answered = false;
    bool was_repeated = false;
  };

  // world.cpp: the parts and their lives
  void build();
  bool open_manager();
  void crash_manager();
  void restart_manager();
  void load_fixture();
  void add_agents();
  bool advance(Duration by);  // false: there is a finding
  bool after_step();
  Options options() const;
  void report(std::string checker, std::string message);
  void note(std::string what);

  // clients.cpp
  void act();
  void create_session();
  void submit_creation(const std::shared_ptr<Creation>& creation);
  void repeat_creations();
  void destroy_session(const SessionId& id, bool forced);
  void destroy_some();
  void call_agent();
  bool is_from_dead(std::uint64_t restarts);  // the manager that was asked after so many
  std::optional<Caller> caller() const;
  std::vector<SessionId> live_sessions() const;

  // chaos.cpp
  void cause_trouble();
  void trouble_agent();
  void cut_network(Duration how_long);
  void trouble_storage();
  void set_network(bool is_faulty);
  void end_trouble();

  // checkers.cpp
  void check_snapshot(const Snapshot& snapshot);
  void check_sessions(const Snapshot& snapshot);
  void check_grants(const Snapshot& snapshot);
  void check_truth();
  void check_restart(const Snapshot& snapshot);  // what is stored is what is seen
  void check_reload(const Snapshot& snapshot);   // now and then, by loading everything
  void check_orphans(const Snapshot& snapshot);
  void check_start();             // and a manager would start from it
  std::string unsettled() const;  // what still has to happen, or empty
  void check_settled_statuses();
  void settle();
  void drain();
  void check_drained();

  Config config_;
  const bool was_calm_;
  runtime::Random random_;
  ManualEnv world_;
  std::unique_ptr<Shadow> shadow_;  // none: reading storage back would hide the bug
  std::shared_ptr<Storage> rows_;
  std::shared_ptr<FaultyStorage> storage_;
  std::shared_ptr<SimulatedCluster> cluster_;
  std::shared_ptr<AgentGateway> gateway_;
  std::unique_ptr<Manager> manager_;
  PlantedStorage planted_;

  std::map<SessionId, Accepted> accepted_;
  std::map<std::string, SessionId> accepted_names_;
  std::set<std::string> refused_names_;
  std::vector<std::shared_ptr<Creation>> creations_;  // unanswered
  std::uint64_t next_name_ = 1;
  std::uint64_t calls_open_ = 0;
  bool had_force_ = false;  // or anything else after which an agent may hold more than is granted

  // Kernels that live although the manager knows nothing of them, since when.
  std::map<KernelId, Timestamp> orphans_;

  SnapshotPtr seen_;
  std::uint64_t seen_commits_ = 0, commits_before_ = 0;
  std::optional<std::uint64_t> crash_in_steps_;
  bool crash_point_over_ = false;
  bool is_cut_ = false;   // nothing gets through
  bool is_over_ = false;  // no more trouble
  Timestamp started_;
  std::optional<Finding> finding_;
  std::vector<std::string> trace_;
  Totals totals_;
};

}  // namespace bai::sim
