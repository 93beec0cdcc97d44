#include "local_agent/child.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "local_agent/python_runner.hpp"

namespace bai::server::local {

Result<std::unique_ptr<Job>> Job::start(EventLoop& loop, ProcessSpec spec, OnOutput on_output) {
  auto out = make_pipe();
  auto err = make_pipe();
  if (!out || !err) return std::unexpected(!out ? out.error() : err.error());
  spec.out = out->write_end.get();
  spec.err = err->write_end.get();
  const auto pid = start_process(spec);
  if (!pid) return std::unexpected(pid.error());
  auto job = std::make_unique<Job>();
  job->pid_ = *pid;
  job->out_ = std::make_unique<OutputPipe>(loop, std::move(out->read_end), Stream::Out, on_output);
  job->err_ = std::make_unique<OutputPipe>(loop, std::move(err->read_end), Stream::Err, on_output);
  return job;
}

void Job::interrupt() const { signal(SIGINT); }

void Job::signal(int number) const { ::kill(-pid_, number); }

void Job::finish() {
  out_->finish();
  err_->finish();
}

Repl::Repl(EventLoop& loop, ReplHandlers handlers) : loop_(loop), handlers_(std::move(handlers)) {}

Repl::~Repl() {
  if (statuses_) loop_.unwatch(statuses_.get());
  if (commands_) loop_.unwatch(commands_.get());
}

Result<std::unique_ptr<Repl>> Repl::start(EventLoop& loop, const KernelConfig& config,
                                          ProcessSpec spec, ReplHandlers handlers) {
  std::unique_ptr<Repl> repl(new Repl(loop, std::move(handlers)));
  auto out = make_pipe();
  auto err = make_pipe();
  auto side = make_pipe();  // Python: the answers to barriers; bash: the exit codes
  int pair[2] = {-1, -1};
  if (!out || !err || !side || ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
    return fail(ErrorCode::Unavailable,
                fmt::format("interpreter channels: {}", std::strerror(errno)));
  Fd mine(pair[0]);
  const Fd theirs(pair[1]);
  const bool python = config.runtime == Runtime::Python;
  spec.argv = python ? std::vector<std::string>{config.interpreter, "-u", "-c"}
                     : std::vector<std::string>{config.interpreter, "--norc", "-c"};
  spec.argv.emplace_back(python ? python_runner() : shell_runner());
  spec.out = out->write_end.get();
  spec.err = err->write_end.get();
  spec.inherited = {{theirs.get(), 3}, {python ? side->read_end.get() : side->write_end.get(), 4}};
  // The child shares the open file description: it must find a blocking one.
  if (python) ::fcntl(side->read_end.get(), F_SETFL, 0);
  const auto pid = start_process(spec);
  if (!pid) return std::unexpected(pid.error());
  repl->pid_ = *pid;
  const auto& on_output = repl->handlers_.on_output;
  repl->out_ = std::make_unique<OutputPipe>(loop, std::move(out->read_end), Stream::Out, on_output);
  repl->err_ = std::make_unique<OutputPipe>(loop, std::move(err->read_end), Stream::Err, on_output);
  Repl* self = repl.get();
  if (python) {
    repl->barriers_ = std::move(side->write_end);
    repl->channel_ = std::make_unique<FrameStream>(
        loop, std::move(mine), [self](Json message) { self->on_message(message); }, nullptr);
  } else {
    repl->commands_ = std::move(mine);
    ::fcntl(repl->commands_.get(), F_SETFL, O_NONBLOCK);
    repl->statuses_ = std::move(side->read_end);
    loop.watch(repl->statuses_.get(), EPOLLIN, [self](std::uint32_t) { self->on_shell_status(); });
  }
  return repl;
}

void Repl::drain() {
  out_->drain();
  err_->drain();
}

void Repl::on_message(const Json& message) {
  const auto event = message["event"].as_string();
  drain();
  if (event == "barrier") {
    const auto n = static_cast<std::uint32_t>(message["n"].as_int());
    const std::array<std::uint8_t, 4> answer{
        static_cast<std::uint8_t>(n >> 24U), static_cast<std::uint8_t>(n >> 16U),
        static_cast<std::uint8_t>(n >> 8U), static_cast<std::uint8_t>(n)};
    [[maybe_unused]] const auto put = ::write(barriers_.get(), answer.data(), answer.size());
  } else if (event == "ready") {
    handlers_.on_ready();
  } else if (event == "finished") {
    out_->finish();  // half a character will not be completed by the next run
    err_->finish();
    handlers_.on_finished(message["exitCode"].as_int());
  } else if (event == "input") {
    input_number_ = message["n"].as_int();
    handlers_.on_input(message["password"].as_bool());
  } else if (event == "completions") {
    handlers_.on_completions(message["items"]);
  }
}

void Repl::on_shell_status() {
  std::array<char, 256> buffer;
  const auto got = ::read(statuses_.get(), buffer.data(), buffer.size());
  if (got <= 0) {
    if (got == 0) loop_.unwatch(statuses_.get());
    return;
  }
  status_line_.append(buffer.data(), static_cast<std::size_t>(got));
  const auto end = status_line_.find('\n');
  if (end == std::string::npos) return;
  std::int64_t code = 1;
  std::from_chars(status_line_.data(), status_line_.data() + end, code);
  status_line_.clear();
  out_->finish();
  err_->finish();
  handlers_.on_finished(code);
}

void Repl::run(const std::string& code) {
  if (channel_) {
    channel_->send(Json::object({{"op", "run"}, {"code", code}}));
    return;
  }
  // A socket's buffer may be smaller than the command: the rest follows when there is room.
  unsent_ += code;
  unsent_.push_back('\0');
  auto write_some = [this] {
    while (!unsent_.empty()) {
      const auto put = ::send(commands_.get(), unsent_.data(), unsent_.size(), MSG_NOSIGNAL);
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) break;
      unsent_.erase(0, static_cast<std::size_t>(put));
    }
    if (unsent_.empty()) loop_.unwatch(commands_.get());
  };
  loop_.watch(commands_.get(), EPOLLOUT, [write_some](std::uint32_t) { write_some(); });
}

void Repl::input(const std::string& text) {
  channel_->send(Json::object({{"op", "input"}, {"n", input_number_}, {"text", text}}));
}

void Repl::complete(const std::string& text, const Json& options) {
  channel_->send(Json::object({{"op", "complete"}, {"text", text}, {"options", options}}));
}

void Repl::interrupt() const { ::kill(-pid_, SIGINT); }

void Repl::finish() {
  if (channel_) channel_->read_available();
  out_->finish();
  err_->finish();
}

}  // namespace bai::server::local
