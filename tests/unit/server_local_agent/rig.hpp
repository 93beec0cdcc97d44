// A manager's end of the wire and a local agent with real kernels, for tests.
#pragma once

#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "agent/event_channel.hpp"
#include "agent/gateway.hpp"
#include "local_agent/local_agent.hpp"

namespace rig {

using namespace bai;
using namespace bai::server;

inline constexpr std::string_view kPython = "local/python:3";
inline constexpr std::string_view kShell = "local/shell";

struct TempDir {
  TempDir();
  ~TempDir();
  std::filesystem::path path;
};

KernelId kernel_id(int n);
SessionId session_id(int n);

struct KernelOptions {
  std::string image{kPython};
  std::string session_type = "interactive";
  std::string cpu = "1", mem = "268435456", bootstrap{};
  std::map<std::string, std::string> environ{};
};

class Rig {
 public:
  Rig();
  ~Rig();

  LocalAgentOptions options;  // change before start_agent()
  Status start_agent();
  void stop_agent() { agent->stop(); }

  Result<AgentReply> call(AgentRequest request, Duration timeout = seconds(20));
  Result<AgentReply> create(int n, const KernelOptions& kernel = {});
  void must_create(int n, const KernelOptions& kernel = {});
  Result<AgentReply> destroy(int n, std::string reason = "user-requested");
  // One call of execute.
  Json step(int n, std::string mode, std::string run, std::string code,
            std::optional<Duration> flush = seconds(5), Json exec_options = Json::object());
  // Query until it is finished; the console of all steps together.
  struct Run {
    std::string out, err, status;
    std::int64_t exit_code = -1;
    Json console = Json::array();
    int steps = 0;
  };
  Run query(int n, std::string code, std::optional<Duration> flush = seconds(5));
  std::string logs(int n);
  std::filesystem::path dir(int n) const;

  // Waits for the first event that fits, forgetting the ones before it.
  std::optional<AgentEventBody> event(const std::function<bool(const AgentEventBody&)>& fits,
                                      std::chrono::milliseconds timeout = std::chrono::seconds(15));
  template <class T>
  std::optional<T> event_of(const std::function<bool(const T&)>& fits = [](const T&) {
    return true;
  }) {
    auto found = event([&](const AgentEventBody& body) {
      const T* one = std::get_if<T>(&body);
      return one != nullptr && fits(*one);
    });
    if (!found) return std::nullopt;
    return std::get<T>(*found);
  }

  std::unique_ptr<LocalAgent> agent;

 private:
  TempDir temp_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<AgentEventBody> events_;
  bool silent_ = false;
  std::unique_ptr<EventListener> listener_;
  std::unique_ptr<ZmqAgentGateway> gateway_;
  int next_run_ = 1;
};

bool process_exists(int pid);  // and is no zombie
bool wait_until(const std::function<bool()>& done,
                std::chrono::milliseconds timeout = std::chrono::seconds(10));
// Processes whose environment names `dir` as their kernel's directory.
std::vector<int> processes_of(const std::filesystem::path& dir);

}  // namespace rig
