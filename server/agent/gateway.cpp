#include "agent/gateway.hpp"

#include <fmt/format.h>

#include "agent/gateway_impl.hpp"

namespace bai::server {

using std::chrono::steady_clock;

namespace {
constexpr Duration kMaxTimeout = seconds(366LL * 24 * 3600);  // keeps deadlines representable
}

// ---- any thread ---------------------------------------------------------------------------------

ZmqAgentGateway::Impl::Impl(GatewayOptions options) : options_(std::move(options)) {
  limits_.max_frame_bytes = options_.max_frame_bytes;
}

Status ZmqAgentGateway::Impl::start() {
  if (!options_.manager_keys.empty() && (!is_curve_key(options_.manager_keys.public_key) ||
                                         !is_curve_key(options_.manager_keys.secret_key)))
    return fail(ErrorCode::InvalidArgument,
                "The manager's CURVE keys must be a public and a secret key of 40 Z85 characters.");
  context_ = make_context();
  if (!context_ || !poller_.ok())
    return fail(ErrorCode::Unavailable,
                "The agent gateway cannot start: out of file descriptors or memory.");
  return start_thread(thread_, [this] { run(); });
}

ZmqAgentGateway::Impl::~Impl() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  poller_.wake();
  if (thread_.joinable()) thread_.join();
}

bool ZmqAgentGateway::Impl::enqueue(Command& command) {
  bool first = false;
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return false;
    first = commands_.empty();
    commands_.push_back(std::move(command));
  }
  if (first) poller_.wake();
  return true;
}

void ZmqAgentGateway::Impl::request(const AgentEndpoint& agent, AgentRequest request,
                                    Duration timeout, AgentReplyHandler reply) {
  ++count_.requests;
  const auto refuse = [&](Error error) {
    if (error.code == ErrorCode::Unavailable) ++count_.unreachable;
    reply(std::unexpected(std::move(error)));
  };
  auto body = wire::encode_function(agent.id, request, limits_);
  if (!body) return refuse(body.error());
  if (count_.open.fetch_add(1) >= options_.max_pending) {
    --count_.open;
    return refuse(
        {ErrorCode::Unavailable,
         fmt::format("{} agent requests are open already; try again later.", options_.max_pending),
         "agent-queue-full",
         {}});
  }
  const auto deadline =
      steady_clock::now() + to_chrono(std::clamp(timeout, Duration{}, kMaxTimeout));
  Command command{agent, OpenRequest{std::move(reply), request_name(request), *std::move(body),
                                     deadline, false}};
  if (enqueue(command)) return;
  --count_.open;
  reply = std::move(command.request->reply);
  refuse({ErrorCode::Unavailable, "The agent gateway has stopped.", "gateway-stopped", {}});
}

void ZmqAgentGateway::Impl::forget(const AgentId& agent) {
  Command command{{agent, {}, {}}, std::nullopt};
  enqueue(command);
}

GatewayStats ZmqAgentGateway::Impl::stats() const {
  GatewayStats s;
  s.requests = count_.requests;
  s.replies = count_.replies;
  s.failures = count_.failures;
  s.timeouts = count_.timeouts;
  s.unreachable = count_.unreachable;
  s.late = count_.late;
  s.malformed = count_.malformed;
  s.dials = count_.dials;
  s.handshake_failures = count_.handshake_failures;
  s.disconnects = count_.disconnects;
  s.ping_failures = count_.ping_failures;
  s.in_flight = count_.in_flight;
  const std::uint64_t open = count_.open;
  s.waiting = open > s.in_flight ? open - s.in_flight : 0;
  s.connected = count_.connected;
  return s;
}

// ---- the I/O thread -----------------------------------------------------------------------------

void ZmqAgentGateway::Impl::log(LogLevel level, const std::string& message) const {
  if (options_.log != nullptr) options_.log->write(level, "agent-gateway", message);
}

void ZmqAgentGateway::Impl::answer(AgentReplyHandler& reply, Result<AgentReply> result) {
  if (!reply) return;  // a health ping
  if (result)
    ++count_.replies;
  else if (result.error().code == ErrorCode::Unavailable)
    ++count_.unreachable;
  else if (result.error().code == ErrorCode::DeadlineExceeded)
    ++count_.timeouts;
  else
    ++count_.failures;
  reply(std::move(result));
}

void ZmqAgentGateway::Impl::run() {
  std::vector<std::uint64_t> ready;
  for (;;) {
    poller_.wait(ready, next_wake());
    ready.insert(ready.end(), unfinished_.begin(), unfinished_.end());
    unfinished_.clear();
    for (const std::uint64_t token : ready) handle_ready(token);
    fire_timers();
    take_commands();
    const std::lock_guard lock(mutex_);
    if (stopping_) break;
  }
  take_commands();
  const Error stopped{
      ErrorCode::Unavailable, "The agent gateway has stopped.", "gateway-stopped", {}};
  for (auto& [id, link] : links_) {
    const int linger_ms = link.state == LinkState::Ready ? 100 : 0;
    fail_open(link, false, stopped);
    close_sockets(link, linger_ms);
  }
  links_.clear();
}

void ZmqAgentGateway::Impl::take_commands() {
  std::vector<Command> batch;
  {
    const std::lock_guard lock(mutex_);
    batch.swap(commands_);
  }
  const SteadyTime now = steady_clock::now();
  for (Command& command : batch) {
    accept(std::move(command), now);
  }
}

void ZmqAgentGateway::Impl::accept(Command command, SteadyTime now) {
  if (!command.request) {
    const auto found = link_ids_.find(command.endpoint.id);
    if (found == link_ids_.end()) return;
    Link& link = links_.at(found->second);
    fail_open(link, false,
              {ErrorCode::Unavailable,
               fmt::format("Agent {} has gone.", link.endpoint.id.str()),
               "agent-disconnected",
               {}});
    set_state(link, LinkState::Idle);
    close_sockets(link, 0);
    links_.erase(found->second);
    link_ids_.erase(found);
    return;
  }
  Link& link = link_of(command.endpoint);
  OpenRequest& request = *command.request;
  if (link.open.size() >= options_.max_pending_per_agent) {
    --count_.open;
    answer(request.reply,
           fail(ErrorCode::Unavailable,
                fmt::format("{} requests to agent {} are open already; try again later.",
                            link.open.size(), link.endpoint.id.str()),
                "agent-queue-full"));
    return;
  }
  const std::uint64_t seq = link.next_seq++;
  add_timer(request.deadline, link, TimerKind::Deadline, seq);
  OpenRequest& placed = link.open.emplace(seq, std::move(request)).first->second;
  if (placed.deadline <= now) return;  // its timer fires at once
  if (link.state == LinkState::Ready) {
    if (!send_request(link, seq, placed)) return lost(link, "it takes no more messages");
    drain(link);
  } else if (link.state == LinkState::Idle) {
    dial(link);
  }
}

void ZmqAgentGateway::Impl::handle_ready(std::uint64_t token) {
  const auto found = links_.find(token / 2);
  if (found == links_.end()) return;
  drain(found->second);  // also before monitor events: answers that came before the disconnect
  if (token % 2 == 1) drain_monitor(found->second);
}

SteadyTime ZmqAgentGateway::Impl::next_wake() const {
  if (!unfinished_.empty()) return steady_clock::now();
  return timers_.empty() ? steady_clock::now() + std::chrono::hours(1)
                         : std::get<SteadyTime>(*timers_.begin());
}

void ZmqAgentGateway::Impl::fire_timers() {
  const SteadyTime now = steady_clock::now();
  while (!timers_.empty() && std::get<SteadyTime>(*timers_.begin()) <= now) {
    const auto [when, link_id, kind, stamp] = *timers_.begin();
    timers_.erase(timers_.begin());
    const auto found = links_.find(link_id);
    if (found == links_.end()) continue;
    Link& link = found->second;
    drain(link);  // what has arrived in time counts, even if this thread is late
    if (kind == TimerKind::Deadline) {
      on_deadline(link, stamp);
    } else if (stamp == link.life) {
      if (kind == TimerKind::Handshake)
        dial_failed(link, "no answer to the handshake");
      else if (kind == TimerKind::Redial)
        dial(link);
      else
        on_ping_time(link);
    }
  }
}

void ZmqAgentGateway::Impl::on_deadline(Link& link, std::uint64_t seq) {
  const auto it = link.open.find(seq);
  if (it == link.open.end()) return;
  const bool is_ping = !it->second.reply, sent = it->second.sent;
  if (sent && !is_ping) {
    const wire::Header header{wire::MessageType::Cancel,
                              std::string(it->second.method),
                              {},
                              static_cast<std::uint32_t>(seq)};
    link.dealer.send({as_bytes(wire::kUpper), wire::encode_header(header), wire::encode_cancel()});
    finish(link, it,
           fail(ErrorCode::DeadlineExceeded,
                fmt::format("Agent {} has not answered `{}` in time; a cancel was sent.",
                            link.endpoint.id.str(), header.method)));
    drain(link);
  } else if (is_ping) {
    finish(link, it, fail(ErrorCode::DeadlineExceeded, "No answer to a health ping."));
    ++count_.ping_failures;
    if (++link.ping_failures >= options_.ping_failures)
      lost(link, fmt::format("{} health pings went unanswered", link.ping_failures));
  } else {
    finish(link, it,
           fail(ErrorCode::Unavailable,
                fmt::format("Agent {} at {} could not be reached: {}.", link.endpoint.id.str(),
                            link.endpoint.addr,
                            link.trouble.empty() ? "no answer to the handshake" : link.trouble),
                "agent-unreachable"));
  }
}

void ZmqAgentGateway::Impl::on_ping_time(Link& link) {
  auto body = wire::encode_function(link.endpoint.id, PingAgent{}, limits_);
  if (!body) return;
  const SteadyTime now = steady_clock::now();
  const std::uint64_t seq = link.next_seq++;
  OpenRequest ping{nullptr, "ping", *std::move(body), now + to_chrono(options_.ping_timeout),
                   false};
  add_timer(ping.deadline, link, TimerKind::Deadline, seq);
  ++count_.open;
  OpenRequest& placed = link.open.emplace(seq, std::move(ping)).first->second;
  add_timer(now + to_chrono(options_.ping_interval), link, TimerKind::Ping, link.life);
  if (!send_request(link, seq, placed)) return lost(link, "it takes no more messages");
  drain(link);
}

// ---- the public face ----------------------------------------------------------------------------

ZmqAgentGateway::ZmqAgentGateway(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ZmqAgentGateway::~ZmqAgentGateway() = default;

Result<std::unique_ptr<ZmqAgentGateway>> ZmqAgentGateway::create(GatewayOptions options) {
  auto impl = std::make_unique<Impl>(std::move(options));
  if (auto started = impl->start(); !started) return std::unexpected(started.error());
  return std::unique_ptr<ZmqAgentGateway>(new ZmqAgentGateway(std::move(impl)));
}

void ZmqAgentGateway::request(const AgentEndpoint& agent, AgentRequest request, Duration timeout,
                              AgentReplyHandler reply) {
  impl_->request(agent, std::move(request), timeout, std::move(reply));
}
void ZmqAgentGateway::forget(const AgentId& agent) { impl_->forget(agent); }
GatewayStats ZmqAgentGateway::stats() const { return impl_->stats(); }

}  // namespace bai::server
