// Simulated agents: they behave as agents do on the wire, repeats and refusals included, run
// nothing, fail when told to and know the truth afterwards.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bai_manager/agent.hpp"
#include "bai_manager/env.hpp"
#include "bai_manager/resources.hpp"

namespace bai {

struct DelayRange {  // drawn uniformly
  Duration least, most;
};

struct SimAgentSpec {
  AgentId id;
  std::string resource_group = "default";
  std::string addr;  // what heartbeats announce; empty: "tcp://<id>:6001"
  std::string architecture = "x86_64";
  std::string version = "bai-sim-1";  // "bai-...": known to refuse repeats
  SlotMap capacity;                   // must list cpu and mem
  SlotTypes slot_types;
  std::string accelerator_model;    // told with the accelerators; may be empty
  std::vector<std::string> images;  // canonical names that it can run; empty: any
};

struct SimBehaviour {
  Duration heartbeat_interval = seconds(3);
  DelayRange answer;   // of everything that takes no time of its own
  DelayRange pull;     // an image that the agent does not have yet
  DelayRange create;   // from accepted to running
  DelayRange destroy;  // from asked for to gone
  // A batch command of "sleep N" and "exit N" steps, joined by ';', takes and yields what it says.
  // Any other one takes this long and fails this often.
  DelayRange batch;
  double batch_failure = 0;
  double create_failure = 0;  // share of creations that fail, half of them with a container
  bool keeps_records = true;  // of kernels that are gone; without, the totals below forget them
};

// What really happened to a kernel on one agent.
struct SimKernelRecord {
  KernelId id;
  SessionId session;
  std::uint32_t creates = 0;          // requests to create it, refused ones included
  std::uint32_t created = 0;          // of these: accepted
  std::uint32_t started = 0;          // of these: came to run
  std::uint32_t repeats_refused = 0;  // refused because it was there already
  std::uint32_t batches = 0;          // its startup command was begun
  std::uint32_t batches_refused = 0;  // ... or asked for again
  std::uint32_t destroys = 0;         // requests to destroy it
  bool is_live = false;               // being created, running or being destroyed
  bool is_running = false;
};

struct SimAgentTotals {
  std::uint64_t requests = 0, events = 0, heartbeats = 0;
  std::uint64_t no_room = 0;       // creations refused: what is free does not suffice
  std::uint64_t bad_reasons = 0;   // destroys whose reason no agent knows
  std::uint64_t kernels_lost = 0;  // died with the agent or on their own
};

// One agent: answers requests, announces what happens. Everything runs on `executor`, calls to it
// included; it never blocks and has no thread. Replies and events are passed on from there.
class SimAgent {
 public:
  using Emit = std::function<void(AgentEvent)>;

  SimAgent(SimAgentSpec spec, SimBehaviour behaviour, Clock& clock, Executor& executor,
           std::uint64_t seed, Emit emit);
  ~SimAgent();  // as a crash: open requests are never answered
  SimAgent(const SimAgent&) = delete;
  SimAgent& operator=(const SimAgent&) = delete;

  // Announces itself and beats `first_beat` later, then regularly. Also what ends a crash: kernels
  // that survived are found again, and what they did meanwhile is told.
  void start(Duration first_beat = {});
  // A clean end: kernels that run go on, nothing is answered any more.
  void stop(std::string_view reason = "shutdown");

  // `reply` runs later, at most once (never after a crash or destruction).
  void handle(AgentRequest request, AgentReplyHandler reply);

  // ---- faults
  // The process dies and with it everything under way: creations, answers, events. Running kernels
  // die with it or go on.
  void crash(bool kernels_survive);
  // Stops answering, beating and telling; requests wait. Kernels go on. `hang(false)`: catches up.
  void hang(bool on);
  // A kernel ends by itself. NotFound when none of that id runs.
  Status kill_kernel(const KernelId& id, std::int64_t exit_code = 137);
  // The next `count` creations fail with this exception; late: when a container exists already,
  // so that kernel_terminated is announced too.
  void fail_next_creates(std::string kind, std::uint32_t count, bool late = false);
  // A device dies, or comes back: announced by the next heartbeat. Kernels are not touched.
  void set_capacity(SlotMap capacity);
  SimBehaviour& behaviour();

  // ---- the truth
  const SimAgentSpec& spec() const;
  bool is_up() const;  // neither crashed nor stopped
  bool is_hanging() const;
  const SlotMap& held() const;      // by kernels that exist, however far they are
  const SlotMap& max_held() const;  // the most of each slot at any time
  const SimAgentTotals& totals() const;
  const std::map<KernelId, SimKernelRecord>& records() const;
  std::vector<KernelId> running_kernels() const;
  std::vector<KernelId> live_kernels() const;  // also those that are being created or destroyed

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

// Probabilities of what may happen to one message. Held back, it is overtaken by others.
struct LinkFaults {
  double lose = 0;
  double duplicate = 0;
  double hold = 0;
  Duration hold_most;
  Duration latency;  // of every message
};

// Agents behind a gateway, with an unreliable network between: no threads, no sockets, all of it on
// one executor and reproducible from the seed. With a ManualEnv give it `outside()`, so that it
// outlives a crash of the manager, and call it from test code at will; with a Runtime call
// everything but request() and forget() from tasks on that executor.
class SimulatedCluster : public AgentGateway {
 public:
  // Normally Manager::deliver. `done(true)`: the event is taken care of; all others but heartbeats
  // are sent again until then.
  using Sink = std::function<void(AgentEvent, std::move_only_function<void(bool)> done)>;

  SimulatedCluster(Clock& clock, Executor& executor, std::uint64_t seed);
  ~SimulatedCluster() override;  // open requests fail as Unavailable
  SimulatedCluster(const SimulatedCluster&) = delete;
  SimulatedCluster& operator=(const SimulatedCluster&) = delete;

  // Where events go; empty: nobody listens, they wait.
  void set_sink(Sink sink);
  // Adds an agent and starts it. Its id must be new.
  SimAgent& add(SimAgentSpec spec, SimBehaviour behaviour = {}, Duration first_beat = {});

  void request(const AgentEndpoint& agent, AgentRequest request, Duration timeout,
               AgentReplyHandler reply) override;
  void forget(const AgentId& agent) override;
  // The manager has died: what it asked is not answered any more, to nobody.
  void disconnect();

  // ---- faults
  void set_request_faults(LinkFaults faults);
  void set_reply_faults(LinkFaults faults);
  void set_event_faults(LinkFaults faults);
  void set_resend_after(Duration wait);  // of unacknowledged events; 2 s
  void crash(const AgentId& id, bool kernels_survive);
  void come_back(const AgentId& id, Duration first_beat = {});  // after crash() or hang()
  void hang(const AgentId& id);
  void inject(AgentEvent event);  // as if that agent had sent it

  // ---- the truth
  SimAgent* find(const AgentId& id);  // null when there is none
  std::vector<AgentId> agents() const;
  std::size_t requests_open() const;
  std::size_t events_waiting() const;                           // unacknowledged
  SimKernelRecord totals_of(const KernelId& id) const;          // summed over the agents
  std::vector<SimKernelRecord> all_records() const;             // the same of each kernel, by id
  std::map<KernelId, std::vector<AgentId>> where_live() const;  // kernels that exist
  // How often the manager asked for a kernel, or for its batch command to be begun, whatever became
  // of the request.
  std::uint32_t creates_sent(const KernelId& id) const;
  std::uint32_t triggers_sent(const KernelId& id) const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace bai
