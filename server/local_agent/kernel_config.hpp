// What a supervisor is told, and what it records. Files of a kernel's directory:
//   kernel.json    the configuration, written by the agent before the supervisor starts
//   state.json     written by the supervisor: alive or ended, exit code, the batch job's outcome
//   reported.json  written by the agent: which outcomes the manager has acknowledged
//   control.sock   the supervisor's socket; console.log the output; work/ the user's files
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "bai_manager/json.hpp"
#include "bai_manager/result.hpp"

namespace bai::server::local {

enum class Runtime : std::uint8_t { Python, Shell };

struct KernelConfig {
  std::string kernel_id, session_id, session_type, image;
  Runtime runtime = Runtime::Python;
  std::string interpreter;  // path of python3; of bash for Runtime::Shell
  std::string shell;        // for commands: path of bash or sh
  std::map<std::string, std::string> environ;
  std::map<std::string, std::string> slots;  // as granted: decimal text
  std::string bootstrap_script;
  std::int64_t data_limit_bytes = 0;  // of each process; 0: none
  std::int64_t max_log_bytes = 1 << 20;
  std::int64_t max_console_bytes = 4 << 20;  // uncollected output of one run
  std::int64_t term_grace_ms = 2000;         // between SIGTERM and SIGKILL

  Json to_json() const;
  static Result<KernelConfig> from_json(const Json& json);
};

struct BatchState {
  bool finished = false;
  bool success = false;
  std::string reason;  // "task-finished", "task-failed", "task-timeout"
  std::int64_t exit_code = -1;
};

struct KernelState {
  std::int64_t supervisor_pid = 0;
  bool ended = false;
  std::string reason;  // why it ended, when nobody asked for it
  std::int64_t exit_code = -1;
  std::optional<BatchState> batch;  // set: triggered

  Json to_json() const;
  static KernelState from_json(const Json& json);
};

}  // namespace bai::server::local
