// Executing code, and `run`: create, execute, remove.
#include <fmt/format.h>
#include <termios.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <sstream>

#include "ctl/commands.hpp"
#include "ctl/output.hpp"

namespace bai::ctl {

namespace {

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

std::string read_line(bool hidden) {
  termios before{};
  const bool terminal = hidden && tcgetattr(STDIN_FILENO, &before) == 0;
  if (terminal) {
    termios silent = before;
    silent.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    tcsetattr(STDIN_FILENO, TCSANOW, &silent);
  }
  std::string line;
  std::getline(std::cin, line);
  if (terminal) {
    tcsetattr(STDIN_FILENO, TCSANOW, &before);
    std::fputc('\n', stdout);
  }
  return line;
}

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

class Progress {
 public:
  void say(std::string_view text) {
    if (text == last_) return;
    last_ = text;
    if (isatty(STDERR_FILENO) != 0) {
      fmt::print(stderr, "\r\033[K{}", text);
      std::fflush(stderr);
    } else {
      fmt::print(stderr, "{}\n", text);
    }
  }
  void clear() {
    if (!last_.empty() && isatty(STDERR_FILENO) != 0) fmt::print(stderr, "\r\033[K");
    last_.clear();
  }

 private:
  std::string last_;
};

// Waits until the session runs, telling what it waits for.
Status wait_until_running(Client& client, Json body, const std::string& id) {
  Progress progress;
  body.set("enqueueOnly", false);
  body.set("reuseIfExists", true);
  body.set("maxWaitSeconds", 1);
  for (;;) {
    if (interrupted != 0) return fail(ErrorCode::Cancelled, "interrupted");
    auto answer = client.call("POST", "/session", body);
    if (!answer) return std::unexpected(answer.error());
    const std::string_view status = (*answer)["status"].as_string();
    if ((*answer)["sessionId"].as_string() != id) {
      return fail(ErrorCode::Cancelled, "the session ended before it ran");
    }
    if (status == "RUNNING") break;
    if (status != "TIMEOUT" && status != "PENDING" && status != "SCHEDULED" &&
        status != "PREPARING" && status != "PREPARED" && status != "CREATING") {
      return fail(ErrorCode::Internal, fmt::format("the session is {}", status));
    }
    auto info = client.call("GET", "/session/" + id);
    if (!info) return std::unexpected(info.error());
    const std::string_view reason = (*info)["statusInfo"].as_string();
    progress.say(
        fmt::format("{}{}", (*info)["status"].as_string(),
                    reason.empty() || reason == "None" ? "" : fmt::format(": {}", reason)));
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

}  // namespace

Result<int> execute(Client& client, const std::string& session, const std::string& code) {
  const InterruptGuard guard;
  const std::string target = "/session/" + encode(session);
  Json body = Json::object({{"mode", "query"}, {"code", code}, {"options", Json::object()}});
  for (;;) {
    auto answer = client.call("POST", target, body);
    if (!answer) return std::unexpected(answer.error());
    const Json& result = (*answer)["result"];
    show(result["console"]);
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
  body->set("enqueueOnly", true);
  const auto created = client.call("POST", "/session", *body);
  if (!created) return report(created.error());
  const std::string id((*created)["sessionId"].as_string());

  int status = kFailed;
  if (auto ready = wait_until_running(client, *body, id); !ready) {
    status = report(ready.error());
  } else {
    const auto exit_code = execute(client, id, *source);
    status = exit_code ? *exit_code : report(exit_code.error());
  }
  if (options.keep) {
    fmt::print(stderr, "The session {} is kept; remove it with: baictl session rm {}\n",
               options.session.name, options.session.name);
    return status;
  }
  if (auto removed = client.call("DELETE", "/session/" + id); !removed)
    return report(removed.error());
  return status;
}

}  // namespace bai::ctl
