// The runs of one kernel: queued, executed one after the other, collected by clients piece by
// piece.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bai_manager/json.hpp"
#include "local_agent/child.hpp"
#include "local_agent/console_log.hpp"
#include "local_agent/event_loop.hpp"
#include "local_agent/kernel_config.hpp"

namespace bai::server::local {

inline constexpr std::size_t kMaxQueuedRuns = 64;    // more: ResourceError
inline constexpr std::size_t kMaxFinishedRuns = 16;  // nobody has collected; more: oldest dropped
// One answer must fit a message, and a byte may need six in JSON.
inline constexpr std::int64_t kMaxConsoleBytes = static_cast<std::int64_t>(kMaxFrameBytes / 7);
inline constexpr EventLoop::Millis kCompletionTimeout{2000};

// An answer to the agent: a value, or an exception class and its text.
struct CallError {
  std::string kind, message;
};
using CallReply = std::move_only_function<void(std::expected<Json, CallError>)>;

// The environment, directory and limits of every process of the kernel in `kernel_dir`.
ProcessSpec kernel_process(const KernelConfig& config, const std::string& kernel_dir);
// `command` as a shell command in it.
ProcessSpec shell_command(const KernelConfig& config, const std::string& kernel_dir,
                          const std::string& command);

// Loop thread only.
class Executions {
 public:
  // `on_repl_exit`: the interpreter has ended by itself; what it left to say has been delivered.
  Executions(EventLoop& loop, const KernelConfig& config, std::string kernel_dir, ConsoleLog& log,
             std::function<void(std::int64_t exit_code)> on_repl_exit);
  ~Executions();

  // Starts the bootstrap script when there is one, else the interpreter unless `lazy`.
  Status start(bool lazy);
  bool bootstrapping() const noexcept { return bootstrap_ != nullptr; }
  std::function<void()> on_bootstrapped;  // set by the owner

  // {"mode", "runId", "code", "options", "flushTimeoutMs": N | null}
  void execute(const Json& request, CallReply reply);
  void complete(const Json& request, CallReply reply);
  // The caller of request `call` (its "id"), or every caller, has given up: what it would have been
  // told waits for the next one.
  void forget(std::int64_t call);
  void forget_all();
  bool interrupt();                          // false: nothing runs
  bool on_exit(pid_t pid, int wait_status);  // false: not a process of ours
  // The kernel is ending: waiting clients get what there is.
  void abandon(const std::string& why, std::int64_t exit_code);

 private:
  struct ConsoleItem {
    Stream stream;
    std::string text;
  };
  // What a client collects with one or more replies; the last one carries the status.
  struct Segment {
    std::vector<ConsoleItem> console;
    std::int64_t bytes = 0, dropped = 0;
    std::string status;  // empty: still open
    std::int64_t exit_code = 0;
  };
  struct Step {
    std::string status, command;
  };
  struct Waiter {
    CallReply reply;
    std::int64_t call = 0;
    EventLoop::TimerId timer = 0;
  };
  struct Run {
    std::string id, code;
    bool query = true;
    std::deque<Step> steps;  // of a batch run
    std::deque<Segment> segments{1};
    bool waiting_input = false, takes_input = false, is_password = false;
    std::optional<Waiter> waiter;
  };
  using RunPtr = std::shared_ptr<Run>;

  void enqueue(RunPtr run, const Json& request, CallReply reply);
  std::deque<Step> batch_steps(const Json& options) const;
  void wait(Run& run, const Json& request, CallReply reply);
  void answer(Run& run);
  bool has_answer(const Run& run) const;
  void add_output(Run& run, Stream stream, std::string text);
  void close_segment(Run& run, std::string status, std::int64_t exit_code);
  void finish_active(std::int64_t exit_code);
  void pump();
  void start_step();
  void on_output(Stream stream, std::string_view raw, std::string text, bool to_run);
  Status start_repl();
  void note(const std::string& line);

  EventLoop& loop_;
  const KernelConfig& config_;
  std::string kernel_dir_;
  ConsoleLog& log_;
  std::function<void(std::int64_t)> on_repl_exit_;
  std::unique_ptr<Job> bootstrap_, step_;
  std::unique_ptr<Repl> repl_;
  bool repl_ready_ = false, lazy_ = false, abandoned_ = false;
  std::map<std::string, RunPtr> runs_;  // until their last piece is collected
  std::deque<RunPtr> queue_;
  std::deque<std::string> finished_;  // oldest first; may name collected ones
  RunPtr active_;
  CallReply completion_;
  EventLoop::TimerId completion_timer_ = 0;
  bool completing_ = false;
  std::uint64_t next_run_ = 1;
};

}  // namespace bai::server::local
