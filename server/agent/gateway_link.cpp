// One agent's connection: dial, handshake, send, receive, lose.
#include <fmt/format.h>

#include "agent/gateway_impl.hpp"

namespace bai::server {

using std::chrono::steady_clock;

namespace {

constexpr int kMessagesPerTurn = 1000;  // of one agent, so that none starves the others
constexpr int kLingerMs = 100;
constexpr int kReconnectMinMs = 100, kReconnectMaxMs = 2000;  // libzmq's own, within one handshake
constexpr int kWatchedEvents = ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL |
                               ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL |
                               ZMQ_EVENT_HANDSHAKE_FAILED_AUTH;

bool set_options(Socket& socket, const GatewayOptions& options) {
  const auto idle = static_cast<int>(options.keepalive_idle.ns / 1'000'000'000);
  return socket.set(ZMQ_LINGER, kLingerMs) && socket.set(ZMQ_TCP_KEEPALIVE, 1) &&
         socket.set(ZMQ_TCP_KEEPALIVE_IDLE, idle) &&
         socket.set(ZMQ_TCP_KEEPALIVE_INTVL, std::max(2, idle / 3)) &&
         socket.set(ZMQ_TCP_KEEPALIVE_CNT, 3) && socket.set(ZMQ_RECONNECT_IVL, kReconnectMinMs) &&
         socket.set(ZMQ_RECONNECT_IVL_MAX, kReconnectMaxMs) &&
         socket.set(ZMQ_HANDSHAKE_IVL, to_ms(options.handshake_timeout)) &&
         // Bounded by max_pending_per_agent instead.
         socket.set(ZMQ_SNDHWM, 0) && socket.set(ZMQ_RCVHWM, 0) &&
         socket.set(ZMQ_MAXMSGSIZE, static_cast<std::int64_t>(options.max_frame_bytes));
}

bool equals(const Bytes& frame, std::string_view text) { return as_text(frame) == text; }

}  // namespace

Link& ZmqAgentGateway::Impl::link_of(const AgentEndpoint& endpoint) {
  auto [known, added] = link_ids_.try_emplace(endpoint.id, next_link_);
  Link& link = links_[known->second];
  if (added) {
    link.id = next_link_++;
    link.endpoint = endpoint;
    link.backoff = options_.backoff_min;
  } else if (link.endpoint.addr != endpoint.addr ||
             link.endpoint.public_key != endpoint.public_key) {
    const bool was_ready = link.state == LinkState::Ready;
    set_state(link, LinkState::Idle);
    close_sockets(link, was_ready ? kLingerMs : 0);
    link.endpoint = endpoint;
    link.backoff = options_.backoff_min;
    fail_open(link, true,
              {ErrorCode::Unavailable,
               fmt::format("Agent {} has moved to {}.", endpoint.id.str(), endpoint.addr),
               "agent-disconnected",
               {}});
  }
  return link;
}

void ZmqAgentGateway::Impl::set_state(Link& link, LinkState state) {
  if (link.state == LinkState::Ready) --count_.connected;
  if (state == LinkState::Ready) ++count_.connected;
  link.state = state;
  ++link.life;
}

void ZmqAgentGateway::Impl::add_timer(SteadyTime when, const Link& link, TimerKind kind,
                                      std::uint64_t stamp) {
  timers_.emplace(when, link.id, kind, stamp);
}

void ZmqAgentGateway::Impl::dial(Link& link) {
  close_sockets(link, 0);
  ++count_.dials;
  if (auto opened = open_sockets(link); !opened) {
    close_sockets(link, 0);
    if (opened.error().kind.empty()) return dial_failed(link, opened.error().message);
    return dial_refused(link, opened.error());
  }
  set_state(link, LinkState::Dialing);
  add_timer(steady_clock::now() + to_chrono(options_.handshake_timeout), link, TimerKind::Handshake,
            link.life);
  link.dealer.send({as_bytes(wire::kPing), {}, {}});
  drain(link);
  drain_monitor(link);  // libzmq signals only readers that have found nothing once
}

// Errors with a kind are final for this endpoint; the others may pass.
Status ZmqAgentGateway::Impl::open_sockets(Link& link) {
  const AgentEndpoint& to = link.endpoint;
  if (!to.public_key.empty()) {
    if (options_.manager_keys.empty())
      return fail(ErrorCode::Unavailable,
                  fmt::format("Agent {} demands CURVE, but the manager has no key pair: configure "
                              "one, or remove the agent's.",
                              to.id.str()),
                  "agent-auth");
    if (!is_curve_key(to.public_key))
      return fail(ErrorCode::Unavailable,
                  fmt::format("The public key of agent {} is not {} characters of Z85.",
                              to.id.str(), kCurveKeyChars),
                  "agent-auth");
  }
  link.dealer = Socket(context_, ZMQ_DEALER);
  if (!link.dealer || !set_options(link.dealer, options_))
    return fail(ErrorCode::Unavailable, "no socket: " + zmq_error());
  if (!to.public_key.empty() &&
      !set_curve_client(link.dealer, options_.manager_keys, to.public_key))
    return fail(ErrorCode::Unavailable, "CURVE is not usable: " + zmq_error(), "agent-auth");
  link.monitor = open_monitor(context_, link.dealer, fmt::format("link-{}-{}", link.id, link.life),
                              kWatchedEvents);
  if (!link.monitor) return fail(ErrorCode::Unavailable, "no socket: " + zmq_error());
  if (!to.addr.starts_with("tcp://") || zmq_connect(link.dealer.get(), to.addr.c_str()) != 0)
    return fail(ErrorCode::Unavailable,
                fmt::format("The address `{}` of agent {} must have the form tcp://host:port.",
                            to.addr, to.id.str()),
                "agent-address");
  if (!poller_.add(link.dealer.fd(), link.id * 2) ||
      !poller_.add(link.monitor.fd(), link.id * 2 + 1))
    return fail(ErrorCode::Unavailable, "out of file descriptors");
  return {};
}

void ZmqAgentGateway::Impl::close_sockets(Link& link, int linger_ms) {
  if (link.dealer) {
    poller_.remove(link.dealer.fd());
    zmq_socket_monitor(link.dealer.get(), nullptr, 0);
    link.dealer.set(ZMQ_LINGER, linger_ms);
  }
  if (link.monitor) poller_.remove(link.monitor.fd());
  link.dealer.close();
  link.monitor.close();
}

void ZmqAgentGateway::Impl::dial_failed(Link& link, const std::string& why) {
  ++count_.handshake_failures;
  if (link.trouble != why)
    log(LogLevel::Warn, fmt::format("Agent {} at {} cannot be reached: {}.", link.endpoint.id.str(),
                                    link.endpoint.addr, why));
  link.trouble = why;
  close_sockets(link, 0);
  retry_or_rest(link);
}

void ZmqAgentGateway::Impl::dial_refused(Link& link, const Error& error) {
  ++count_.handshake_failures;
  log(LogLevel::Error, error.message);
  set_state(link, LinkState::Idle);
  fail_open(link, false, error);
}

void ZmqAgentGateway::Impl::retry_or_rest(Link& link) {
  if (link.open.empty()) return set_state(link, LinkState::Idle);
  set_state(link, LinkState::Backoff);
  add_timer(steady_clock::now() + to_chrono(link.backoff), link, TimerKind::Redial, link.life);
  link.backoff = std::min(link.backoff * 2, options_.backoff_max);
}

void ZmqAgentGateway::Impl::lost(Link& link, const std::string& why) {
  ++count_.disconnects;
  log(LogLevel::Warn,
      fmt::format("The connection to agent {} is lost: {}.", link.endpoint.id.str(), why));
  close_sockets(link, 0);
  set_state(link, LinkState::Idle);
  link.trouble = why;
  fail_open(link, true,
            {ErrorCode::Unavailable,
             fmt::format("The connection to agent {} was lost before it answered: {}.",
                         link.endpoint.id.str(), why),
             "agent-disconnected",
             {}});
  retry_or_rest(link);
}

void ZmqAgentGateway::Impl::became_ready(Link& link) {
  set_state(link, LinkState::Ready);
  link.backoff = options_.backoff_min;
  link.ping_failures = 0;
  link.trouble.clear();
  add_timer(steady_clock::now() + to_chrono(options_.ping_interval), link, TimerKind::Ping,
            link.life);
  for (auto& [seq, request] : link.open)
    if (!request.sent && !send_request(link, seq, request))
      return lost(link, "it takes no messages");
}

bool ZmqAgentGateway::Impl::send_request(Link& link, std::uint64_t seq, OpenRequest& request) {
  const wire::Header header{wire::MessageType::Function,
                            std::string(request.method),
                            {},
                            static_cast<std::uint32_t>(seq)};
  if (!link.dealer.send({as_bytes(wire::kUpper), wire::encode_header(header), request.body}))
    return false;
  request.sent = true;
  request.body = {};
  ++count_.in_flight;
  return true;
}

void ZmqAgentGateway::Impl::drain(Link& link) {
  for (int n = 0; link.dealer && link.dealer.readable(); ++n) {
    if (n == kMessagesPerTurn) return unfinished_.push_back(link.id * 2);
    if (link.dealer.receive(frames_)) on_message(link, frames_);
  }
}

void ZmqAgentGateway::Impl::drain_monitor(Link& link) {
  bool dropped = false, refused = false;
  while (link.monitor && link.monitor.readable()) {
    const int event = next_monitor_event(link.monitor);
    dropped |= event != 0;
    refused |= event != 0 && event != ZMQ_EVENT_DISCONNECTED;
  }
  if (!dropped) return;
  if (link.state == LinkState::Ready)
    lost(link, "it closed the connection");
  else if (link.state == LinkState::Dialing)
    dial_failed(link, refused ? "the security handshake failed" : "it closed the connection");
}

void ZmqAgentGateway::Impl::on_message(Link& link, const Frames& frames) {
  if (frames.size() != 3) {
    malformed(link, fmt::format("a message of {} frames", frames.size()));
  } else if (equals(frames[0], wire::kPong)) {
    if (link.state == LinkState::Dialing) became_ready(link);
  } else if (equals(frames[0], wire::kPing)) {
    link.dealer.send({as_bytes(wire::kPong), frames[1], frames[2]});
  } else if (equals(frames[0], wire::kUpper) && link.state == LinkState::Ready) {
    on_reply(link, frames);
  } else {
    malformed(link, "a message that is no answer to anything");
  }
}

void ZmqAgentGateway::Impl::malformed(Link& link, std::string_view what) {
  ++count_.malformed;
  if (std::exchange(link.is_malformed_told, true)) return;
  log(LogLevel::Warn, fmt::format("Agent {} has sent {}; further ones are only counted.",
                                  link.endpoint.id.str(), what));
}

void ZmqAgentGateway::Impl::late(Link& link, std::string_view method) {
  ++count_.late;
  if (std::exchange(link.is_late_told, true)) return;
  log(LogLevel::Info,
      fmt::format("Agent {} has answered `{}` when nobody waited for it any more; further late "
                  "answers are only counted.",
                  link.endpoint.id.str(), wire::valid_utf8(method.substr(0, 64))));
}

void ZmqAgentGateway::Impl::on_reply(Link& link, const Frames& frames) {
  using enum wire::MessageType;
  const auto header = wire::decode_header(frames[1]);
  if (!header || header->type == Null || header->type == Function || header->type == Cancel) {
    return malformed(link, "an answer whose header does not decode");
  }
  // The newest sequence number with these low 32 bits.
  const std::uint64_t last = link.next_seq - 1;
  const auto it = link.open.find(last - static_cast<std::uint32_t>(last - header->seq));
  if (it == link.open.end() || !it->second.sent || it->second.method != header->method ||
      !header->okey.data.empty()) {
    if (header->type != Cancelled) late(link, header->method);
    return;
  }
  if (!it->second.reply) link.ping_failures = 0;
  if (header->type == Cancelled)
    return finish(link, it,
                  fail(ErrorCode::Internal, "The agent cancelled the call.", "CancelledError"));
  auto result = header->type == Result ? wire::decode_result(frames[2], limits_)
                                       : std::unexpected(wire::decode_failure(frames[2], limits_));
  if (!result && result.error().code == ErrorCode::Corruption) {
    malformed(link, "an answer that does not decode: " + result.error().message);
    result = fail(ErrorCode::Internal, result.error().message, "malformed-reply");
  }
  finish(link, it, std::move(result));
}

void ZmqAgentGateway::Impl::finish(Link& link, OpenIterator it, bai::Result<AgentReply> result) {
  timers_.erase({it->second.deadline, link.id, TimerKind::Deadline, it->first});
  OpenRequest request = std::move(it->second);
  link.open.erase(it);
  --count_.open;
  if (request.sent) --count_.in_flight;
  answer(request.reply, std::move(result));
}

void ZmqAgentGateway::Impl::fail_open(Link& link, bool only_sent, const Error& error) {
  for (auto it = link.open.begin(); it != link.open.end();) {
    const auto next = std::next(it);
    const bool is_ping = !it->second.reply;
    if (!only_sent || it->second.sent || is_ping) finish(link, it, std::unexpected(error));
    it = next;
  }
}

}  // namespace bai::server
