// The processes that a supervisor holds: the interpreter, and shell commands.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "bai_manager/json.hpp"
#include "local_agent/event_loop.hpp"
#include "local_agent/frame_stream.hpp"
#include "local_agent/kernel_config.hpp"
#include "local_agent/output_pipe.hpp"
#include "local_agent/process.hpp"

namespace bai::server::local {

// One shell command. The owner reaps and calls finish() with the pid's exit, then destroys it.
class Job {
 public:
  static Result<std::unique_ptr<Job>> start(EventLoop& loop, ProcessSpec spec, OnOutput on_output);
  pid_t pid() const noexcept { return pid_; }
  void interrupt() const;         // SIGINT to its process group
  void signal(int number) const;  // to its process group
  void finish();                  // delivers the rest of its output

 private:
  pid_t pid_ = -1;
  std::unique_ptr<OutputPipe> out_, err_;
};

struct ReplHandlers {
  OnOutput on_output;
  std::function<void()> on_ready;
  std::function<void(std::int64_t exit_code)> on_finished;
  std::function<void(bool password)> on_input;
  std::function<void(const Json& items)> on_completions;
};

// The persistent interpreter, Python or bash. Loop thread only; the owner reaps it. Handlers must
// not destroy it.
class Repl {
 public:
  static Result<std::unique_ptr<Repl>> start(EventLoop& loop, const KernelConfig& config,
                                             ProcessSpec spec, ReplHandlers handlers);
  ~Repl();
  pid_t pid() const noexcept { return pid_; }

  // One command at a time: Python from on_ready on, bash at once (it reads when it can); the next
  // one after on_finished or on_completions.
  void run(const std::string& code);
  void input(const std::string& text);  // answers the latest on_input
  void complete(const std::string& text, const Json& options);
  bool can_complete() const noexcept { return channel_ != nullptr; }
  void interrupt() const;
  void finish();  // it has exited: delivers what it said last

 private:
  Repl(EventLoop& loop, ReplHandlers handlers);
  void on_message(const Json& message);
  void on_shell_status();
  void drain();

  EventLoop& loop_;
  ReplHandlers handlers_;
  pid_t pid_ = -1;
  std::unique_ptr<OutputPipe> out_, err_;
  std::unique_ptr<FrameStream> channel_;  // Python
  Fd barriers_;                           // Python: our end, writing
  Fd commands_, statuses_;                // bash
  std::string unsent_, status_line_;      // bash
  std::int64_t input_number_ = 0;
};

}  // namespace bai::server::local
