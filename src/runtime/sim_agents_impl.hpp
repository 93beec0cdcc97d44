// The inside of one simulated agent.
#pragma once

#include <deque>
#include <set>
#include <utility>

#include "bai_manager/sim_agents.hpp"
#include "runtime/random.hpp"

namespace bai {

namespace sim {

using FileMap = std::map<std::string, Bytes>;

struct CommandOutcome {
  Duration takes;
  std::int64_t exit_code = 0;
  std::string output;
};
// "sleep 1.5; echo hello; exit 3"; nothing when a step is none of these three.
std::optional<CommandOutcome> predict_command(std::string_view command);

// A POSIX tar archive of regular files. Names longer than 100 bytes are cut.
Bytes make_tar(const std::vector<std::pair<std::string, const Bytes*>>& files);

Duration draw(runtime::Random& random, const DelayRange& range);

}  // namespace sim

struct SimAgent::Impl : std::enable_shared_from_this<SimAgent::Impl> {
  struct Failure {
    std::string kind, message;
  };
  // One CreateKernels request: answered when the last of its kernels runs or has failed.
  struct CreateJob {
    std::size_t open = 0;
    Json results = Json::array();
    std::vector<Failure> failures;
    AgentReplyHandler reply;
  };
  enum class Phase : std::uint8_t { Creating, Running, Destroying };
  struct Batch {
    Timestamp ends_at;
    std::int64_t exit_code = 0;
    std::string reason;
    bool is_told = false;
  };
  struct LiveKernel {
    std::uint64_t generation = 0;  // of this process or container: an id may come again
    KernelSpec spec;
    SessionId session;
    SlotMap slots;
    Phase phase = Phase::Creating;
    std::shared_ptr<CreateJob> job;
    std::optional<Failure> fails_late;
    std::optional<Batch> batch;
    std::string log;
    sim::FileMap files;
    bool is_told = true;  // kernel_terminated will be announced
    std::string end_reason;
    std::vector<AgentReplyHandler> destroy_replies;
  };
  using Kernels = std::map<KernelId, LiveKernel>;

  Impl(SimAgentSpec agent_spec, SimBehaviour agent_behaviour, Clock& agent_clock,
       Executor& agent_executor, std::uint64_t seed, Emit emit_event);

  // Runs `task` later, unless this process has died by then; while it hangs, when that is over.
  void after(Duration delay, Task task);
  void act(Task task);
  void emit(AgentEventBody body);
  void respond(AgentReplyHandler reply, Result<AgentReply> result);

  void announce(Duration first_beat);
  void beat();
  void die(bool kernels_survive);

  void handle(AgentRequest request, AgentReplyHandler reply);
  void on(CheckAndPull& request, AgentReplyHandler reply);
  void on(CreateKernels& request, AgentReplyHandler reply);
  void on(DestroyKernel& request, AgentReplyHandler reply);
  void on(CheckCreating& request, AgentReplyHandler reply);
  void on(CheckRunning& request, AgentReplyHandler reply);
  void on(SyncKernelRegistry& request, AgentReplyHandler reply);
  void on(TriggerBatch& request, AgentReplyHandler reply);
  void on(Execute& request, AgentReplyHandler reply);
  void on(InterruptKernel& request, AgentReplyHandler reply);
  void on(GetCompletions& request, AgentReplyHandler reply);
  void on(GetLogs& request, AgentReplyHandler reply);
  void on(ListFiles& request, AgentReplyHandler reply);
  void on(UploadFile& request, AgentReplyHandler reply);
  void on(DownloadFile& request, AgentReplyHandler reply);
  void on(DownloadSingle& request, AgentReplyHandler reply);
  void on(PingAgent& request, AgentReplyHandler reply);

  bool has_image(const std::string& canonical) const;
  void pull(const std::string& canonical);
  Result<SlotMap> admit(const KernelSpec& kernel) const;
  std::optional<Failure> next_failure(bool& late);
  void begin_create(const SessionId& session, KernelSpec kernel,
                    const std::shared_ptr<CreateJob>& job);
  void finish_create(const KernelId& id, std::uint64_t generation);
  static void fail_job(CreateJob& job, Failure failure);
  void close_job(const std::shared_ptr<CreateJob>& job);
  void begin_destroy(LiveKernel& kernel, std::string reason, bool told);
  void finish_destroy(const KernelId& id, std::uint64_t generation);
  void watch_batch(const KernelId& id, const LiveKernel& kernel);
  void finish_batch(const KernelId& id, std::uint64_t generation);
  Kernels::iterator remove(Kernels::iterator kernel);  // gives its amounts back
  void forget_record(const KernelId& id);              // unless it lives or records are kept
  LiveKernel* running(const KernelId& id);

  SimAgentSpec spec;
  SimBehaviour behaviour;
  Clock& clock;
  Executor& executor;
  runtime::Random random;
  Emit emit_event;

  bool is_up = false;
  bool is_hanging = false;
  std::uint64_t process = 0;  // counts starts and ends
  std::uint64_t next_generation = 1;
  std::deque<Task> backlog;  // what waits for a hang to be over
  std::set<std::string> pulled, pulling;
  Kernels kernels;
  SlotMap held, max_held;
  std::map<KernelId, SimKernelRecord> records;
  SimAgentTotals totals;

  std::string fail_kind;
  std::uint32_t fail_count = 0;
  bool fail_late = false;
};

}  // namespace bai
