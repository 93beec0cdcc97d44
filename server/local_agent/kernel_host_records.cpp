// KernelHost: what is on disk, what the manager has been told of it, and finding it again.
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "local_agent/file_util.hpp"
#include "local_agent/kernel_host.hpp"
#include "local_agent/process.hpp"

namespace bai::server::local {

Status KernelHost::open() {
  std::error_code error;
  std::filesystem::create_directories(options_.work_root, error);
  const std::string path = options_.work_root + "/agent.lock";
  lock_.reset(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock_)
    return fail(ErrorCode::Unavailable,
                fmt::format("cannot open {}: {}; the work root must be a writable directory", path,
                            std::strerror(errno)));
  if (::flock(lock_.get(), LOCK_EX | LOCK_NB) != 0)
    return fail(ErrorCode::AlreadyExists,
                fmt::format("another local agent uses {}: give each one a work root of its own",
                            options_.work_root));
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(options_.work_root, error))
    names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  for (const auto& name : names)
    if (const auto id = parse_uuid<KernelId>(name)) adopt(options_.work_root + "/" + name, *id);
  prune();
  return {};
}

// A kernel that an earlier agent on this work root has left: running, or ended meanwhile.
void KernelHost::adopt(const std::string& dir, const KernelId& id) {
  const auto json = read_json(dir + "/kernel.json");
  auto config = json ? KernelConfig::from_json(*json) : fail(ErrorCode::NotFound, "no kernel.json");
  const auto session = config ? parse_uuid<SessionId>(config->session_id) : std::nullopt;
  if (!session) {  // that agent died before it could start anything
    std::error_code error;
    std::filesystem::remove_all(dir, error);
    return;
  }
  auto kernel = std::make_shared<Kernel>();
  kernel->id = id;
  kernel->session = *session;
  kernel->dir = dir;
  kernel->config = std::move(*config);
  for (const auto& [name, text] : kernel->config.slots)
    if (const auto amount = parse_amount(slot_types_.type_of(name), text))
      kernel->slots.set(name, *amount);
  if (auto reported = read_json(dir + "/reported.json")) kernel->reported = std::move(*reported);
  if (const auto state = read_json(dir + "/state.json"))
    kernel->state = KernelState::from_json(*state);
  if (!kernel->state.ended) {
    auto link = KernelLink::attach(loop_, dir, handlers_for(kernel));
    kernels_[id] = kernel;
    kernel->running = kernel->state.supervisor_pid != 0;
    if (!link) {
      kernel->running = true;  // the manager may believe so
      on_gone(kernel);
      return;
    }
    kernel->link = std::move(*link);
    if (kernel->running && !kernel->reported["started"].as_bool()) emit_started(kernel);
    return;
  }
  // Its supervisor may be a child of this very process that nobody has waited for.
  if (kernel->state.supervisor_pid > 0)
    ::waitpid(static_cast<pid_t>(kernel->state.supervisor_pid), nullptr, WNOHANG);
  if (kernel->state.batch && kernel->state.batch->finished && !kernel->reported["batch"].as_bool())
    emit_batch(kernel);
  if (!kernel->reported["ended"].as_bool()) emit_terminated(kernel, kernel->state.reason);
  keep_ended(*kernel);
}

void KernelHost::report(const KernelPtr& kernel, const char* what) {
  kernel->reported.set(what, true);
  unconfirmed_.emplace_back(kernel, what);
}

void KernelHost::emit_started(const KernelPtr& kernel) {
  KernelStarted event;
  event.kernel = kernel->id;
  event.session = kernel->session;
  event.container_id = kernel->config.kernel_id;
  event.kernel_host = options_.kernel_host;
  event.used_slots.emplace();
  for (const auto& [name, amount] : kernel->slots)
    event.used_slots->emplace_back(name, format_amount(slot_types_.type_of(name), amount));
  emit_(std::move(event));
  report(kernel, "started");
}

void KernelHost::emit_batch(const KernelPtr& kernel) {
  const BatchState& batch = *kernel->state.batch;
  emit_(BatchFinished{kernel->session, batch.success, batch.reason, batch.exit_code});
  report(kernel, "batch");
}

void KernelHost::emit_terminated(const KernelPtr& kernel, const std::string& reason) {
  emit_(KernelTerminated{kernel->id, kernel->session, reason, kernel->state.exit_code,
                         clean_utf8(read_tail(kernel->dir + "/console.log", kTerminatedLogBytes))});
  report(kernel, "ended");
}

void KernelHost::confirm_events() {
  std::map<std::string, Json> files;  // one write for each directory
  for (const auto& [kernel, what] : unconfirmed_) {
    const std::string path = kernel->dir + "/reported.json";
    if (!files.contains(path)) files[path] = read_json(path).value_or(Json::object());
    files[path].set(what, true);
  }
  // What cannot be noted is told again by the next agent, and ignored.
  for (const auto& [path, json] : files) (void)write_file(path, json.dump(), Durability::Process);
  unconfirmed_.clear();
}

void KernelHost::keep_ended(const Kernel& kernel) {
  ended_[kernel.id] =
      Ended{kernel.dir, kernel.session, kernel.state.exit_code, Clock::now(), next_ended_++};
}

void KernelHost::prune() {
  std::map<std::uint64_t, KernelId> by_age;
  for (const auto& [id, one] : ended_) by_age.emplace(one.order, id);
  std::size_t left = ended_.size();
  const auto oldest = Clock::now() - options_.keep_ended_for;
  for (const auto& [order, id] : by_age) {
    const auto it = ended_.find(id);
    if (left <= options_.keep_ended_count && it->second.since >= oldest) break;
    std::error_code error;
    std::filesystem::remove_all(it->second.dir, error);
    ended_.erase(it);
    --left;
  }
}

}  // namespace bai::server::local
