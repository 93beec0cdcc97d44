#include "local_agent/executions.hpp"

#include <fmt/core.h>
#include <sys/stat.h>

#include <filesystem>

namespace bai::server::local {
namespace {

constexpr std::int64_t kNotStarted = 127;  // what a shell answers for a command it cannot start

std::string quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

}  // namespace

ProcessSpec kernel_process(const KernelConfig& config, const std::string& kernel_dir) {
  ProcessSpec spec;
  spec.directory = kernel_dir + "/work";
  spec.limits.data_bytes = config.data_limit_bytes;
  const auto slash = config.interpreter.rfind('/');
  const std::string own = slash == std::string::npos || slash == 0
                              ? std::string()
                              : config.interpreter.substr(0, slash) + ":";
  spec.environ = {{"PATH", own + "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
                  {"HOME", spec.directory},
                  {"LANG", "C.UTF-8"},
                  {"SHELL", config.shell},
                  {"USER", "work"},
                  {"TERM", "dumb"}};
  for (const auto& [name, value] : config.environ) {
    // Neither can be handed to a process: the one would cut the name, the other the value.
    if (name.empty() || name.find_first_of(std::string_view("=\0", 2)) != std::string::npos ||
        value.find('\0') != std::string::npos)
      continue;
    spec.environ[name] = value;
  }
  spec.environ[std::string(kKernelMarker)] = kernel_dir;
  return spec;
}

ProcessSpec shell_command(const KernelConfig& config, const std::string& kernel_dir,
                          const std::string& command) {
  ProcessSpec spec = kernel_process(config, kernel_dir);
  spec.argv = {config.shell, "-c", command};
  return spec;
}

Executions::Executions(EventLoop& loop, const KernelConfig& config, std::string kernel_dir,
                       ConsoleLog& log, std::function<void(std::int64_t)> on_repl_exit)
    : loop_(loop),
      config_(config),
      kernel_dir_(std::move(kernel_dir)),
      log_(log),
      on_repl_exit_(std::move(on_repl_exit)) {}

Executions::~Executions() = default;

void Executions::note(const std::string& line) { log_.append(line + "\n"); }

Status Executions::start(bool lazy) {
  lazy_ = lazy;
  if (config_.bootstrap_script.empty()) return lazy ? Status{} : start_repl();
  const std::string path = kernel_dir_ + "/bootstrap.sh";
  if (auto written = write_file(path, config_.bootstrap_script, Durability::Process); !written)
    return written;
  ::chmod(path.c_str(), 0700);
  // A script that names its interpreter is run by it, any other one by the shell.
  const bool names_one = config_.bootstrap_script.starts_with("#!");
  auto job = Job::start(
      loop_,
      shell_command(config_, kernel_dir_, names_one ? "exec " + quoted(path) : ". " + quoted(path)),
      [this](Stream stream, std::string_view raw, std::string text) {
        on_output(stream, raw, std::move(text), false);
      });
  if (!job) return std::unexpected(job.error());
  bootstrap_ = std::move(*job);
  return {};
}

Status Executions::start_repl() {
  ReplHandlers handlers;
  handlers.on_output = [this](Stream stream, std::string_view raw, std::string text) {
    on_output(stream, raw, std::move(text), active_ && active_->query);
  };
  handlers.on_ready = [this] {
    repl_ready_ = true;
    pump();
  };
  handlers.on_finished = [this](std::int64_t exit_code) {
    if (active_ && active_->query) finish_active(exit_code);
  };
  handlers.on_input = [this](bool password) {
    if (!active_ || !active_->query) return;
    active_->waiting_input = active_->takes_input = true;
    active_->is_password = password;
    answer(*active_);
  };
  handlers.on_completions = [this](const Json& items) {
    completing_ = false;
    loop_.cancel(completion_timer_);
    if (auto reply = std::move(completion_))
      reply(Json::object({{"status", "finished"}, {"error", nullptr}, {"suggestions", items}}));
    completion_ = nullptr;
    pump();
  };
  auto repl =
      Repl::start(loop_, config_, kernel_process(config_, kernel_dir_), std::move(handlers));
  if (!repl) return std::unexpected(repl.error());
  repl_ = std::move(*repl);
  repl_ready_ = config_.runtime == Runtime::Shell;
  return {};
}

void Executions::on_output(Stream stream, std::string_view raw, std::string text, bool to_run) {
  log_.append(raw);
  if (to_run && active_ && !text.empty()) add_output(*active_, stream, std::move(text));
}

void Executions::add_output(Run& run, Stream stream, std::string text) {
  Segment& segment = run.segments.back();
  const auto size = static_cast<std::int64_t>(text.size());
  if (segment.bytes + size > config_.max_console_bytes) {
    segment.dropped += size;
    return;
  }
  segment.bytes += size;
  if (!segment.console.empty() && segment.console.back().stream == stream) {
    segment.console.back().text += text;
  } else {
    segment.console.push_back({stream, std::move(text)});
  }
}

void Executions::close_segment(Run& run, std::string status, std::int64_t exit_code) {
  const bool last = status == "finished";
  run.segments.back().status = std::move(status);
  run.segments.back().exit_code = exit_code;
  if (!last) run.segments.emplace_back();
  answer(run);
}

bool Executions::has_answer(const Run& run) const {
  return !run.segments.front().status.empty() || run.waiting_input;
}

// Replies to the waiting client when there is something to say.
void Executions::answer(Run& run) {
  if (!run.waiter || !has_answer(run)) return;
  Waiter waiter = std::move(*run.waiter);
  run.waiter.reset();
  loop_.cancel(waiter.timer);
  Segment& segment = run.segments.front();
  Json console = Json::array();
  for (auto& item : segment.console) {
    Json pair = Json::array();
    pair.push_back(item.stream == Stream::Out ? "stdout" : "stderr");
    pair.push_back(std::move(item.text));
    console.push_back(std::move(pair));
  }
  if (segment.dropped > 0) {
    Json pair = Json::array();
    pair.push_back("stderr");
    pair.push_back(
        fmt::format("\n[{} bytes of output dropped: more than {} bytes were waiting to "
                    "be collected; the log has its end]\n",
                    segment.dropped, config_.max_console_bytes));
    console.push_back(std::move(pair));
  }
  const bool closed = !segment.status.empty();
  const std::string status = closed              ? segment.status
                             : run.waiting_input ? "waiting-input"
                                                 : "continued";
  Json result = Json::object(
      {{"runId", run.id},
       {"status", status},
       {"exitCode", closed && status != "continued" ? Json(segment.exit_code) : Json()},
       {"options",
        !closed && run.waiting_input ? Json::object({{"is_password", run.is_password}}) : Json()},
       {"console", std::move(console)},
       {"files", Json::array()}});
  if (closed) {
    run.segments.pop_front();
  } else {
    segment = Segment{};
  }
  // `run` may go with its entry: nothing may touch it below.
  if (status == "finished") runs_.erase(run.id);
  waiter.reply(std::move(result));
}

void Executions::wait(Run& run, const Json& request, CallReply reply) {
  if (run.waiter) {  // a newer call takes over: the older one gets nothing more
    Waiter older = std::move(*run.waiter);
    run.waiter.reset();
    loop_.cancel(older.timer);
    older.reply(Json::object({{"runId", run.id},
                              {"status", "continued"},
                              {"exitCode", nullptr},
                              {"options", nullptr},
                              {"console", Json::array()},
                              {"files", Json::array()}}));
  }
  run.waiter.emplace(Waiter{std::move(reply), request["id"].as_int(), 0});
  if (has_answer(run)) {
    answer(run);
    return;
  }
  const Json& timeout = request["flushTimeoutMs"];
  if (!timeout.is_number()) return;
  const RunPtr keep = runs_.at(run.id);
  run.waiter->timer =
      loop_.run_after(EventLoop::Millis(std::max<std::int64_t>(timeout.as_int(), 0)), [this, keep] {
        if (!keep->waiter) return;
        // An answer with what there is: as a segment of its own that says "continued".
        Segment rest;
        rest.console.swap(keep->segments.front().console);
        std::swap(rest.dropped, keep->segments.front().dropped);
        keep->segments.front().bytes = 0;
        rest.status = "continued";
        keep->segments.push_front(std::move(rest));
        answer(*keep);
      });
}

void Executions::execute(const Json& request, CallReply reply) {
  const auto mode = request["mode"].as_string();
  std::string id(request["runId"].as_string());
  const auto it = runs_.find(id);
  if (mode == "continue" || mode == "input") {
    if (it == runs_.end()) {
      reply(std::unexpected(CallError{
          "ValueError", fmt::format("run \"{}\" is not in progress: it is unknown, was collected "
                                    "or was dropped uncollected",
                                    id)}));
      return;
    }
    const RunPtr run = it->second;
    if (mode == "input") {
      if (!run->takes_input) {
        reply(std::unexpected(
            CallError{"ValueError", fmt::format("run \"{}\" does not wait for input", id)}));
        return;
      }
      run->waiting_input = run->takes_input = false;
      std::string text(request["code"].as_string());
      if (text.ends_with('\n')) text.pop_back();
      repl_->input(text);
    }
    wait(*run, request, std::move(reply));
    return;
  }
  if (mode != "query" && mode != "batch") {
    reply(std::unexpected(
        CallError{"ValueError",
                  fmt::format("mode \"{}\" is unknown: query, batch, continue or input", mode)}));
    return;
  }
  if (it != runs_.end()) {
    reply(std::unexpected(
        CallError{"ValueError",
                  fmt::format("run \"{}\" is in progress: collect it with mode continue", id)}));
    return;
  }
  if (id.empty()) id = fmt::format("run-{}", next_run_++);
  auto run = std::make_shared<Run>();
  run->id = std::move(id);
  run->query = mode == "query";
  enqueue(std::move(run), request, std::move(reply));
}

void Executions::enqueue(RunPtr run, const Json& request, CallReply reply) {
  run->code = request["code"].as_string();
  if (queue_.size() >= kMaxQueuedRuns) {
    reply(std::unexpected(CallError{
        "ResourceError", fmt::format("{} runs are waiting, which is the most", queue_.size())}));
    return;
  }
  if (run->query && config_.runtime == Runtime::Shell &&
      run->code.find('\0') != std::string::npos) {
    reply(std::unexpected(CallError{"ValueError", "a shell command has no NUL characters"}));
    return;
  }
  if (!run->query) run->steps = batch_steps(request["options"]);
  runs_[run->id] = run;
  queue_.push_back(run);
  wait(*run, request, std::move(reply));
  pump();
}

// {clean, build, exec}: a command, "*" for the image's own, nothing or null to leave it out.
std::deque<Executions::Step> Executions::batch_steps(const Json& options) const {
  std::deque<Step> steps;
  const auto add = [&](std::string_view key, std::string status, std::string standard) {
    const std::string command(options[key].as_string());
    if (!command.empty()) steps.push_back({std::move(status), command == "*" ? standard : command});
  };
  const bool python = config_.runtime == Runtime::Python;
  add("clean", "clean-finished", ":");
  add("build", "build-finished", "if [ -f Makefile ]; then exec make; fi");
  add("exec", "finished", python ? "exec python3 main.py" : "exec \"$SHELL\" main.sh");
  if (steps.empty() || steps.back().status != "finished") steps.push_back({"finished", ""});
  return steps;
}

void Executions::pump() {
  if (active_ || queue_.empty() || bootstrap_ || completing_ || abandoned_) return;
  if (queue_.front()->query) {
    if (!repl_) {
      if (auto started = start_repl(); !started) {
        active_ = queue_.front();
        queue_.pop_front();
        add_output(*active_, Stream::Err, started.error().message + "\n");
        finish_active(kNotStarted);
        return;
      }
    }
    if (!repl_ready_) return;
  }
  active_ = queue_.front();
  queue_.pop_front();
  if (active_->query) {
    repl_->run(active_->code);
  } else {
    start_step();
  }
}

void Executions::start_step() {
  const Step& step = active_->steps.front();
  if (step.command.empty()) {
    finish_active(0);
    return;
  }
  auto job = Job::start(loop_, shell_command(config_, kernel_dir_, step.command),
                        [this](Stream stream, std::string_view raw, std::string text) {
                          on_output(stream, raw, std::move(text), true);
                        });
  if (job) {
    step_ = std::move(*job);
    return;
  }
  add_output(*active_, Stream::Err, job.error().message + "\n");
  finish_active(kNotStarted);
}

void Executions::finish_active(std::int64_t exit_code) {
  const RunPtr run = std::move(active_);
  active_ = nullptr;
  run->waiting_input = run->takes_input = false;
  finished_.push_back(run->id);
  close_segment(*run, "finished", exit_code);
  std::erase_if(finished_, [this](const std::string& id) { return !runs_.contains(id); });
  while (finished_.size() > kMaxFinishedRuns) {
    runs_.erase(finished_.front());
    finished_.pop_front();
  }
  pump();
}

void Executions::forget(std::int64_t call) {
  for (auto& [id, run] : runs_) {
    if (!run->waiter || run->waiter->call != call) continue;
    loop_.cancel(run->waiter->timer);
    run->waiter.reset();
  }
}

void Executions::forget_all() {
  for (auto& [id, run] : runs_) {
    if (run->waiter) loop_.cancel(run->waiter->timer);
    run->waiter.reset();
  }
}

bool Executions::interrupt() {
  if (!active_) return false;
  if (active_->query) {
    repl_->interrupt();
    // It ends now, most likely: who continues it waits for that. Code that ignores the interrupt
    // can still be given its input.
    active_->waiting_input = false;
  } else if (step_) {
    step_->interrupt();
  }
  return true;
}

void Executions::complete(const Json& request, CallReply reply) {
  const auto refuse = [&](const char* why) {
    reply(Json::object({{"status", "failed"}, {"error", why}, {"suggestions", Json::array()}}));
  };
  if (config_.runtime == Runtime::Shell) return refuse("a shell kernel offers no completions");
  if (active_ || completing_ || bootstrap_) return refuse("the kernel is busy");
  if (!repl_ && !start_repl()) return refuse("the interpreter does not start");
  completing_ = true;
  completion_ = std::move(reply);
  repl_->complete(std::string(request["text"].as_string()), request["options"]);
  completion_timer_ = loop_.run_after(kCompletionTimeout, [this] {
    repl_->interrupt();
    if (auto late = std::move(completion_))
      late(Json::object({{"status", "failed"},
                         {"error", "no completions in time"},
                         {"suggestions", Json::array()}}));
    completion_ = nullptr;
  });
}

bool Executions::on_exit(pid_t pid, int wait_status) {
  const std::int64_t exit_code = exit_code_of(wait_status);
  if (bootstrap_ && bootstrap_->pid() == pid) {
    bootstrap_->finish();
    bootstrap_.reset();
    if (exit_code != 0) note(fmt::format("[bootstrap script: exit code {}]", exit_code));
    if (abandoned_) return true;
    if (!lazy_) {
      if (auto started = start_repl(); !started) {
        note(started.error().message);
        on_repl_exit_(kNotStarted);
        return true;
      }
    }
    if (on_bootstrapped) on_bootstrapped();
    pump();
    return true;
  }
  if (step_ && step_->pid() == pid) {
    step_->finish();
    step_.reset();
    if (!active_) return true;  // abandoned
    const Step step = std::move(active_->steps.front());
    active_->steps.pop_front();
    const bool build_failed = step.status == "build-finished" && exit_code != 0;
    if (active_->steps.empty()) {
      finish_active(exit_code);
    } else {
      close_segment(*active_, step.status, exit_code);
      if (build_failed) {
        finish_active(kNotStarted);  // nothing to execute
      } else {
        start_step();
      }
    }
    return true;
  }
  if (repl_ && repl_->pid() == pid) {
    repl_->finish();
    repl_.reset();
    repl_ready_ = false;
    on_repl_exit_(exit_code);
    return true;
  }
  return false;
}

void Executions::abandon(const std::string& why, std::int64_t exit_code) {
  abandoned_ = true;
  if (auto reply = std::move(completion_)) reply(std::unexpected(CallError{"RuntimeError", why}));
  completion_ = nullptr;
  if (active_) queue_.push_front(std::move(active_));
  active_ = nullptr;
  while (!queue_.empty()) {
    const RunPtr run = queue_.front();
    queue_.pop_front();
    run->waiting_input = run->takes_input = false;
    add_output(*run, Stream::Err, "[" + why + "]\n");
    close_segment(*run, "finished", exit_code);
  }
}

}  // namespace bai::server::local
