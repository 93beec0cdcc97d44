// bai-local-agent: the bundled agent as a program of its own.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <mutex>

#include "local_agent/local_agent.hpp"
#include "local_agent/supervisor.hpp"

namespace {

class StderrLog : public bai::LogSink {
 public:
  explicit StderrLog(bool verbose) : verbose_(verbose) {}
  void write(bai::LogLevel level, std::string_view component,
             std::string_view message) noexcept override {
    static constexpr const char* kNames[] = {"debug", "info", "warning", "error"};
    if (level == bai::LogLevel::Debug && !verbose_) return;
    const std::lock_guard lock(mutex_);
    fmt::print(stderr, "{}: {}: {}\n", kNames[static_cast<std::size_t>(level)], component, message);
  }

 private:
  std::mutex mutex_;
  bool verbose_;
};

}  // namespace

int main(int argc, char** argv) {
  if (bai::server::is_supervisor_invocation(argc, argv))
    return bai::server::supervisor_main(argc, argv);

  bai::server::LocalAgentOptions options;
  std::string id = options.id.str(), python;
  double heartbeat_seconds = 3;
  bool verbose = false;
  CLI::App app("Runs compute sessions as processes of this host for a bai-manager-server.");
  app.add_option("--manager", options.event_addr, "Event address of the manager, tcp://HOST:PORT")
      ->capture_default_str();
  app.add_option("--work-root", options.work_root, "Directory for the kernels")->required();
  app.add_option("--id", id, "Agent id, unique in the cluster")->capture_default_str();
  app.add_option("--rpc-addr", options.rpc_addr, "Where to listen; port * means any")
      ->capture_default_str();
  app.add_option("--advertised-host", options.advertised_host,
                 "Host name under which the manager reaches this agent");
  app.add_option("--slot", options.slots, "Amount to offer: cpu 4 --slot mem 8g (default: all)");
  app.add_option("--resource-group", options.resource_group, "Resource group at first registration")
      ->capture_default_str();
  app.add_option("--heartbeat-interval", heartbeat_seconds, "Seconds")
      ->capture_default_str()
      ->check(CLI::Range(0.05, 3600.0));
  app.add_option("--python", python, "Path of the python3 behind the image local/python:3");
  app.add_flag("--verbose", verbose, "Log details");
  CLI11_PARSE(app, argc, argv);

  StderrLog log(verbose);
  options.id = bai::AgentId(id);
  options.heartbeat_interval = {static_cast<std::int64_t>(heartbeat_seconds * 1e9)};
  options.log = &log;
  if (!python.empty())
    options.images["local/python:3"] = {bai::server::LocalImageProgram::Kind::Python, python};

  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);  // before any thread is started
  bai::server::LocalAgent agent(std::move(options));
  if (auto started = agent.start(); !started) {
    fmt::print(stderr, "bai-local-agent: {}\n", started.error().message);
    return 1;
  }
  int number = 0;
  sigwait(&signals, &number);
  agent.stop();
  return 0;
}
