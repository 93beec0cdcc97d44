// Executing code, and `run`: create, execute, remove.
#include <fmt/format.h>
#include <poll.h>

#include <csignal>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <sstream>

#include "bai_manager/status.hpp"
#include "ctl/commands.hpp"
#include "ctl/output.hpp"
#include "ctl/terminal.hpp"

namespace bai::ctl {

namespace {

constexpr int kFirstPauseMs = 100, kLongestPauseMs = 1000;  // between two looks at a session

volatile std::sig_atomic_t interrupted = 0;

// While it lives, Ctrl-C is something to tell the session instead of the end of this program.
class InterruptGuard {
 public:
  InterruptGuard() {
    interrupted = 0;
    struct sigaction action{};
    action.sa_handler = [](int) { interrupted = 1; };
    sigaction(SIGINT, &action, &before_);
  }
  ~InterruptGuard() { sigaction(SIGINT, &before_, nullptr); }
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

 private:
  struct sigaction before_{};
};

void show(const Json& console) {
  for (const Json& item : console.items()) {
    const auto& parts = item.items();
    if (parts.size() != 2) continue;
    const std::string_view kind = parts[0].as_string();
    std::FILE* out = kind == "stderr" ? stderr : stdout;
    if (parts[1].is_string()) {
      const std::string_view text = parts[1].as_string();
      std::fwrite(text.data(), 1, text.size(), out);
    } else {
      fmt::print(out, "[{}: {}]\n", kind,
                 parts[1].items().empty() ? "" : parts[1].items()[0].as_string());
    }
    std::fflush(out);
  }
}

bool is_queued(SessionStatus status) {
  return status == SessionStatus::Pending || status == SessionStatus::Deprioritizing ||
         status == SessionStatus::Rescheduling;
}

// What `info` of a session that does not run yet says to its owner.
std::string waiting_text(const Json& info) {
  const std::string_view name = info["status"].as_string(), reason = info["statusInfo"].as_string();
  const auto status = parse_enum<SessionStatus>(name);
  return fmt::format("{} ({}){}", status && is_queued(*status) ? "queued" : "starting", name,
                     reason.empty() || reason == "None" ? "" : fmt::format(": {}", reason));
}

// Waits until the session runs, telling what it waits for.
Status wait_until_running(Client& client, const std::string& id) {
  Progress progress;
  for (int pause = kFirstPauseMs;; pause = std::min(2 * pause, kLongestPauseMs)) {
    if (interrupted != 0) return fail(ErrorCode::Cancelled, "interrupted");
    const auto info = client.call("GET", "/session/" + id);
    if (!info) return std::unexpected(info.error());
    const auto status = parse_enum<SessionStatus>((*info)["status"].as_string());
    if (status == SessionStatus::Running || status == SessionStatus::RunningDegraded) break;
    if (status && is_terminal(*status)) {
      return fail(ErrorCode::Cancelled,
                  fmt::format("the session ended before it ran: {} ({})",
                              (*info)["status"].as_string(), (*info)["statusInfo"].as_string()));
    }
    progress.say(waiting_text(*info));
    ::poll(nullptr, 0, pause);  // a signal ends it
  }
  progress.clear();
  return {};
}

Result<std::string> read_source(const RunOptions& options) {
  if (options.file.empty()) return options.code;
  std::ostringstream text;
  if (options.file == "-") {
    text << std::cin.rdbuf();
    return text.str();
  }
  std::ifstream file(options.file);
  if (!file) return fail(ErrorCode::InvalidArgument, fmt::format("cannot read {}", options.file));
  text << file.rdbuf();
  return text.str();
}

// Runs the program in the session, which is there already; the exit status of this program.
int run_in(Client& client, const std::string& id, const RunOptions& options,
           const std::string& source) {
  if (auto ready = wait_until_running(client, id); !ready) return report(ready.error());
  Json console = Json::array();
  const auto exit_code = execute(client, id, source, options.json ? &console : nullptr);
  if (!exit_code) return report(exit_code.error());
  if (options.json) {
    fmt::print("{}\n", Json::object({{"session_id", id},
                                     {"session_name", options.session.name},
                                     {"exit_code", *exit_code},
                                     {"console", std::move(console)}})
                           .dump_pretty());
  }
  return *exit_code;
}

}  // namespace

Result<int> execute(Client& client, const std::string& session, const std::string& code,
                    Json* console) {
  const InterruptGuard guard;
  const std::string target = "/session/" + encode(session);
  Json body = Json::object({{"mode", "query"}, {"code", code}, {"options", Json::object()}});
  for (;;) {
    auto answer = client.call("POST", target, body);
    if (!answer) return std::unexpected(answer.error());
    const Json& result = (*answer)["result"];
    if (console == nullptr) {
      show(result["console"]);
    } else {
      for (const Json& item : result["console"].items()) console->push_back(item);
    }
    const std::string_view status = result["status"].as_string();
    if (status == "finished") return static_cast<int>(result["exitCode"].as_int(0));
    if (status == "exec-timeout")
      return fail(ErrorCode::DeadlineExceeded, "the execution took too long");
    if (interrupted != 0) {
      interrupted = 0;
      if (auto sent = client.call("POST", target + "/interrupt"); !sent)
        return std::unexpected(sent.error());
    }
    const bool asks = status == "waiting-input";
    const std::string text = asks ? read_line(result["options"]["is_password"].as_bool()) : "";
    body = Json::object({{"mode", asks ? "input" : "continue"},
                         {"code", text},
                         {"runId", result["runId"]},
                         {"options", Json::object()}});
  }
}

int run(Client& client, RunOptions options) {
  const auto source = read_source(options);
  if (!source) return report(source.error()), kUsage;
  if (options.session.name.empty()) options.session.name = made_up_name();
  auto body = creation_body(options.session);
  if (!body) return report(body.error()), kUsage;
  const InterruptGuard guard;
  // A session of its own: one that is there already must not be run in, let alone removed.
  body->set("enqueueOnly", true);
  body->set("reuseIfExists", false);
  const auto created = client.call("POST", "/session", *body);
  if (!created) return report(created.error());
  const std::string id((*created)["sessionId"].as_string());

  const int status = run_in(client, id, options, *source);
  if (options.keep) {
    fmt::print(stderr, "The session {} is kept; remove it with: baictl session rm {}\n",
               options.session.name, options.session.name);
    return status;
  }
  if (auto removed = client.call("DELETE", "/session/" + id); !removed) {
    const int failed = report(removed.error());
    fmt::print(stderr, "The session is still there; remove it with: baictl session rm {}\n", id);
    return status == kOk ? failed : status;
  }
  return status;
}

}  // namespace bai::ctl
