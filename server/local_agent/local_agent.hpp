// The bundled agent: runs kernels as real process trees on this host and speaks the agent wire.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "agent/curve.hpp"
#include "agent/event_channel.hpp"
#include "bai_manager/env.hpp"
#include "bai_manager/ids.hpp"
#include "bai_manager/result.hpp"
#include "bai_manager/time.hpp"

namespace bai::server {

// A program of the host that stands for an image.
struct LocalImageProgram {
  enum class Kind : std::uint8_t { Python, Shell } kind = Kind::Python;
  std::string path;  // of python3 (3.8 or later); of bash
};

// "local/python:3", "local/shell" and "local/shell:latest", as far as their programs are in PATH. A
// python3 that is itself a script (a version manager's) is taken only when there is no other.
std::map<std::string, LocalImageProgram> find_local_images();

struct LocalAgentOptions {
  AgentId id{"i-local"};
  std::string work_root;  // one directory below it for each kernel; created when absent
  std::string rpc_addr = "tcp://127.0.0.1:*";
  std::string advertised_host;                // empty: the host of rpc_addr
  std::string event_addr{kDefaultEventAddr};  // of the manager
  std::map<std::string, std::string> slots;   // decimal text; empty: all cpu and mem of the host
  std::map<std::string, LocalImageProgram> images = find_local_images();
  Duration heartbeat_interval = seconds(3);
  std::string resource_group = "default";
  // A program whose main() calls supervisor_main() (supervisor.hpp); this one by default.
  std::string executable = "/proc/self/exe";
  bool limit_memory = true;              // RLIMIT_DATA of each process of a kernel = its mem slot
  std::int64_t max_log_bytes = 1 << 20;  // of each kernel's log
  std::int64_t max_console_bytes = 4 << 20;  // of one run's output that nobody has collected
  Duration term_grace = seconds(2);          // between SIGTERM and SIGKILL
  Duration start_timeout = seconds(15);      // of a kernel's supervisor
  Duration hung_timeout = seconds(10);  // a destroy beyond the grace; then the supervisor is killed
  std::size_t keep_ended_count = 100;   // directories of ended kernels, and for how long
  Duration keep_ended_for = seconds(3600);
  CurveKeyPair keys;  // set: CURVE, and only this manager is admitted
  std::string manager_public_key;
  LogSink* log = nullptr;  // outlives the agent
};

// One thread calls it. Kernels survive it, however it ends: the next agent on the same work_root
// finds them.
class LocalAgent {
 public:
  explicit LocalAgent(LocalAgentOptions options);
  ~LocalAgent();  // stop()
  LocalAgent(const LocalAgent&) = delete;
  LocalAgent& operator=(const LocalAgent&) = delete;

  // Attaches to the kernels of work_root, opens the port, announces itself. Once. InvalidArgument,
  // AlreadyExists (work_root or port in use), Unavailable.
  Status start();
  // Announces the end ("shutdown"; waits up to a second for the manager to have it) and leaves the
  // kernels running. Idempotent.
  void stop();
  // Goes as if killed: announces nothing.
  void abandon();

  const std::string& addr() const noexcept;  // with the real port, after start()

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace bai::server
