#include "rig.hpp"

#include <dirent.h>
#include <doctest/doctest.h>
#include <fmt/core.h>
#include <signal.h>
#include <stdlib.h>

#include <fstream>
#include <future>
#include <sstream>
#include <thread>

#include "local_agent/supervisor.hpp"

namespace {

// The agent under test starts its supervisors from this very program, whose main() is doctest's:
// the C library hands the arguments to constructors too.
__attribute__((constructor)) void become_supervisor(int argc, char** argv) {
  if (!bai::server::is_supervisor_invocation(argc, argv)) return;
  std::_Exit(bai::server::supervisor_main(argc, argv));
}

}  // namespace

namespace rig {

TempDir::TempDir() {
  std::string name = std::filesystem::temp_directory_path() / "bai-local-agent-XXXXXX";
  REQUIRE(::mkdtemp(name.data()) != nullptr);
  path = name;
}

TempDir::~TempDir() {
  std::error_code error;
  std::filesystem::remove_all(path, error);
}

KernelId kernel_id(int n) {
  KernelId id;
  id.bytes[15] = static_cast<std::uint8_t>(n);
  id.bytes[0] = 0xAA;
  return id;
}

SessionId session_id(int n) {
  SessionId id;
  id.bytes[15] = static_cast<std::uint8_t>(n);
  id.bytes[0] = 0xBB;
  return id;
}

Rig::Rig() {
  options.work_root = temp_.path;
  options.slots = {{"cpu", "16"}, {"mem", "16g"}};
  options.heartbeat_interval = milliseconds(200);
  EventListenerOptions listen;
  listen.addr = "tcp://127.0.0.1:*";
  auto listener = EventListener::create(listen, [this](AgentEvent event, EventDone done) {
    {
      std::lock_guard lock(mutex_);
      events_.push_back(std::move(event.body));
    }
    changed_.notify_all();
    done(true);
  });
  REQUIRE(listener);
  listener_ = std::move(*listener);
  options.event_addr = listener_->addr();
  auto gateway = ZmqAgentGateway::create({});
  REQUIRE(gateway);
  gateway_ = std::move(*gateway);
}

Rig::~Rig() {
  agent.reset();  // while there is somebody to say goodbye to
  // Whatever the test has left running.
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(temp_.path, error)) {
    std::ifstream file(entry.path() / "state.json");
    std::stringstream text;
    text << file.rdbuf();
    const auto state = Json::parse(text.str());
    if (state && !(*state)["ended"].as_bool()) {
      const auto pid = static_cast<int>((*state)["supervisorPid"].as_int());
      if (pid > 0 && process_exists(pid)) ::kill(pid, SIGTERM);
      wait_until([&] { return !process_exists(pid) && processes_of(entry.path()).empty(); });
    }
  }
}

Status Rig::start_agent() {
  agent = std::make_unique<LocalAgent>(options);
  return agent->start();
}

Result<AgentReply> Rig::call(AgentRequest request, Duration timeout) {
  std::promise<Result<AgentReply>> promise;
  auto future = promise.get_future();
  gateway_->request({options.id, agent->addr(), ""}, std::move(request), timeout,
                    [&](Result<AgentReply> reply) { promise.set_value(std::move(reply)); });
  return future.get();
}

Result<AgentReply> Rig::create(int n, const KernelOptions& kernel) {
  CreateKernels request;
  request.session = session_id(n);
  request.cluster_mode = "single-node";
  request.replicas = {{"main", 1}};
  KernelSpec spec;
  spec.id = kernel_id(n);
  spec.image.canonical = kernel.image;
  spec.image.registry = "local";
  spec.image.registry_url = "local:";
  spec.session_type = kernel.session_type;
  spec.cluster_mode = "single-node";
  spec.cluster_role = "main";
  spec.slots = {{"cpu", kernel.cpu}, {"mem", kernel.mem}};
  spec.bootstrap_script = kernel.bootstrap;
  spec.environ = kernel.environ;
  spec.agent_addr = agent->addr();
  spec.resource_group = "default";
  request.kernels.push_back(std::move(spec));
  return call(std::move(request));
}

void Rig::must_create(int n, const KernelOptions& kernel) {
  const auto created = create(n, kernel);
  if (!created) FAIL(created.error().message);
  REQUIRE(event_of<KernelStarted>([&](auto& e) { return e.kernel == kernel_id(n); }));
}

Result<AgentReply> Rig::destroy(int n, std::string reason) {
  return call(DestroyKernel{kernel_id(n), session_id(n), std::move(reason), false});
}

Json Rig::step(int n, std::string mode, std::string run, std::string code,
               std::optional<Duration> flush, Json exec_options) {
  auto reply = call(Execute{session_id(n), kernel_id(n), std::move(run), std::move(mode),
                            std::move(code), std::move(exec_options), flush});
  if (!reply) FAIL(reply.error().kind << ": " << reply.error().message);
  return reply->value;
}

Rig::Run Rig::query(int n, std::string code, std::optional<Duration> flush) {
  Run run;
  const std::string id = fmt::format("query-{}", next_run_++);
  std::string mode = "query";
  while (run.steps < 100) {
    const Json result = step(n, mode, id, mode == "query" ? code : "", flush);
    ++run.steps;
    CHECK(result["runId"].as_string() == id);
    for (const Json& item : result["console"].items()) {
      (item.items()[0].as_string() == "stdout" ? run.out : run.err) += item.items()[1].as_string();
      run.console.push_back(item);
    }
    run.status = result["status"].as_string();
    run.exit_code = result["exitCode"].as_int(-1);
    if (run.status != "continued") break;
    mode = "continue";
  }
  return run;
}

std::string Rig::logs(int n) {
  const auto reply = call(GetLogs{kernel_id(n)});
  if (!reply) FAIL(reply.error().message);
  return std::string(reply->value["logs"].as_string());
}

std::filesystem::path Rig::dir(int n) const { return temp_.path / to_string(kernel_id(n)); }

std::optional<AgentEventBody> Rig::event(const std::function<bool(const AgentEventBody&)>& fits,
                                         std::chrono::milliseconds timeout) {
  std::unique_lock lock(mutex_);
  std::optional<AgentEventBody> found;
  changed_.wait_for(lock, timeout, [&] {
    for (std::size_t i = 0; i < events_.size(); ++i) {
      if (!fits(events_[i])) continue;
      found = std::move(events_[i]);
      events_.erase(events_.begin(), events_.begin() + static_cast<std::ptrdiff_t>(i) + 1);
      return true;
    }
    return false;
  });
  return found;
}

bool process_exists(int pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  std::string text;
  if (!std::getline(file, text)) return false;
  const auto at = text.rfind(')');
  return at != std::string::npos && text.size() > at + 2 && text[at + 2] != 'Z';
}

bool wait_until(const std::function<bool()>& done, std::chrono::milliseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  while (!done()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

std::vector<int> processes_of(const std::filesystem::path& dir) {
  std::vector<int> found;
  const std::string wanted = "BAI_KERNEL_DIR=" + dir.string();
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    std::ifstream file(entry.path() / "environ");
    std::string variable;
    while (std::getline(file, variable, '\0'))
      if (variable == wanted) found.push_back(std::stoi(name));
  }
  return found;
}

}  // namespace rig
