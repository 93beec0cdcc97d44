// The agents' end of the event channel.
#include <fmt/format.h>

#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>
#include <unordered_map>

#include "agent/event_channel.hpp"
#include "agent/event_wire.hpp"
#include "agent/zmq_socket.hpp"

namespace bai::server {
namespace {

constexpr int kLingerMs = 100;
constexpr int kReconnectMinMs = 100, kReconnectMaxMs = 2000;
constexpr std::int64_t kMaxAckBytes = 4096;
constexpr std::string_view kHeartbeatName = "agent_heartbeat";
constexpr std::uint64_t kDealerToken = 1, kMonitorToken = 2;
constexpr SteadyTime kNever = SteadyTime::max();

struct Entry {
  AgentId source;
  std::string name, payload;
  SteadyTime sent_at;
  bool is_heartbeat = false;
};

}  // namespace

class EventClient::Impl {
 public:
  explicit Impl(EventClientOptions options) : options_(std::move(options)) {}
  ~Impl();
  Status start();
  bool send(const AgentId& source, std::string name, std::string payload);
  bool flush(Duration timeout);
  EventClientStats stats();

 private:
  using Queue = std::map<std::uint64_t, Entry>;

  // With mutex_ held.
  void erase(Queue::iterator it);
  bool transmit(std::uint64_t seq, Entry& entry, SteadyTime now);
  bool may_send() const noexcept { return connected_ && in_window_ < options_.window; }
  void pump(SteadyTime now);
  void resend(SteadyTime now);

  void run();
  void drain();
  void drain_monitor();
  void on_message(const Frames& frames);

  EventClientOptions options_;
  Poller poller_;
  ZmqContext context_;
  Socket dealer_, monitor_;
  Frames frames_;

  std::mutex mutex_;  // guards everything below
  std::condition_variable acked_;
  Queue queue_;                    // unacknowledged, in the order of sending
  std::uint64_t next_seq_ = 1;     // of the next event queued
  std::uint64_t next_unsent_ = 1;  // those below are sent
  std::size_t in_window_ = 0;      // how many of queue_ are
  std::size_t events_ = 0;         // how many of queue_ are no heartbeats
  std::unordered_map<AgentId, std::uint64_t> heartbeats_;  // of each agent the newest
  SteadyTime next_resend_ = kNever;
  EventClientStats stats_;
  bool connected_ = false;
  bool stopping_ = false;
  std::thread thread_;
};

Status EventClient::Impl::start() {
  context_ = make_context();
  if (context_) dealer_ = Socket(context_, ZMQ_DEALER);
  if (!dealer_ || !poller_.ok() || !dealer_.set(ZMQ_LINGER, kLingerMs) ||
      // Nothing queues up in libzmq while there is no connection: the queue here is the one.
      !dealer_.set(ZMQ_IMMEDIATE, 1) || !dealer_.set(ZMQ_RECONNECT_IVL, kReconnectMinMs) ||
      !dealer_.set(ZMQ_RECONNECT_IVL_MAX, kReconnectMaxMs) ||
      !dealer_.set(ZMQ_MAXMSGSIZE, kMaxAckBytes))
    return fail(ErrorCode::Unavailable, "The event client cannot start: " + zmq_error());
  monitor_ = open_monitor(context_, dealer_, "events",
                          ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_HANDSHAKE_SUCCEEDED);
  if (!monitor_ || !poller_.add(dealer_.fd(), kDealerToken) ||
      !poller_.add(monitor_.fd(), kMonitorToken))
    return fail(ErrorCode::Unavailable, "The event client cannot start: " + zmq_error());
  if (!options_.addr.starts_with("tcp://") ||
      zmq_connect(dealer_.get(), options_.addr.c_str()) != 0)
    return fail(
        ErrorCode::InvalidArgument,
        fmt::format("The event address `{}` must have the form tcp://host:port.", options_.addr));
  return start_thread(thread_, [this] { run(); });
}

EventClient::Impl::~Impl() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  poller_.wake();
  if (thread_.joinable()) thread_.join();
  if (dealer_) zmq_socket_monitor(dealer_.get(), nullptr, 0);
}

// ---- any thread ---------------------------------------------------------------------------------

bool EventClient::Impl::send(const AgentId& source, std::string name, std::string payload) {
  const std::lock_guard lock(mutex_);
  const bool is_heartbeat = name == kHeartbeatName;
  if ((!is_heartbeat && events_ >= options_.max_events) ||
      payload.size() > options_.max_message_bytes) {
    ++stats_.dropped;
    return false;
  }
  const std::uint64_t seq = next_seq_++;
  if (is_heartbeat) {
    auto [newest, first] = heartbeats_.try_emplace(source, seq);
    if (!first) {
      ++stats_.coalesced;
      erase(queue_.find(newest->second));
      heartbeats_[source] = seq;
    }
  } else {
    ++events_;
  }
  queue_.emplace(seq, Entry{source, std::move(name), std::move(payload), {}, is_heartbeat});
  ++stats_.queued;
  if (may_send()) poller_.wake();
  return true;
}

bool EventClient::Impl::flush(Duration timeout) {
  std::unique_lock lock(mutex_);
  const std::uint64_t last = next_seq_;
  return acked_.wait_for(lock, to_chrono(timeout),
                         [&] { return queue_.empty() || queue_.begin()->first >= last; });
}

EventClientStats EventClient::Impl::stats() {
  const std::lock_guard lock(mutex_);
  EventClientStats out = stats_;
  out.pending = queue_.size();
  out.pending_events = events_;
  return out;
}

// ---- the I/O thread -----------------------------------------------------------------------------

void EventClient::Impl::erase(Queue::iterator it) {
  if (it->first < next_unsent_) --in_window_;
  if (it->second.is_heartbeat)
    heartbeats_.erase(it->second.source);
  else
    --events_;
  queue_.erase(it);
}

bool EventClient::Impl::transmit(std::uint64_t seq, Entry& entry, SteadyTime now) {
  const SeqBytes number = encode_seq(seq);
  if (!dealer_.send({as_bytes(kEventFrame), number, as_bytes(entry.name),
                     as_bytes(entry.source.view()), as_bytes(entry.payload), as_bytes("{}")}))
    return false;
  entry.sent_at = now;
  next_resend_ = std::min(next_resend_, now + to_chrono(options_.resend_after));
  return true;
}

void EventClient::Impl::pump(SteadyTime now) {
  for (auto it = queue_.lower_bound(next_unsent_); it != queue_.end() && may_send(); ++it) {
    if (!transmit(it->first, it->second, now)) return;  // its fd tells when there is room
    next_unsent_ = it->first + 1;
    ++in_window_;
    ++stats_.sent;
  }
}

void EventClient::Impl::resend(SteadyTime now) {
  next_resend_ = kNever;
  const auto patience = to_chrono(options_.resend_after);
  for (auto it = queue_.begin(); it != queue_.end() && it->first < next_unsent_; ++it) {
    Entry& entry = it->second;
    if (entry.sent_at + patience > now) {
      next_resend_ = std::min(next_resend_, entry.sent_at + patience);
      continue;
    }
    if (!transmit(it->first, entry, now)) {  // no room: tried again when the next is due
      next_resend_ = now + patience;
      return;
    }
    ++stats_.resent;
  }
}

void EventClient::Impl::run() {
  using std::chrono::steady_clock;
  std::vector<std::uint64_t> ready;
  for (;;) {
    drain_monitor();
    drain();
    SteadyTime until;
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) return;
      const SteadyTime now = steady_clock::now();
      if (now >= next_resend_) resend(now);
      pump(now);
      until = next_resend_ == kNever ? now + std::chrono::hours(1) : next_resend_;
      // Sending may have consumed a signal; see Poller.
      const bool more = queue_.lower_bound(next_unsent_) != queue_.end();
      if (dealer_.readable() || (more && may_send() && dealer_.writable())) continue;
    }
    poller_.wait(ready, until);
  }
}

void EventClient::Impl::drain() {
  while (dealer_.readable())
    if (dealer_.receive(frames_)) on_message(frames_);
}

// Whatever was under way is sent again, in order, once there is a connection. Until then nothing
// may be sent: libzmq still takes messages for a connection that is going down, and loses them.
void EventClient::Impl::drain_monitor() {
  while (monitor_.readable()) {
    const int event = next_monitor_event(monitor_);
    if (event == 0) continue;
    const std::lock_guard lock(mutex_);
    connected_ = event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED;
    stats_.resent += in_window_;
    stats_.sent -= in_window_;
    next_unsent_ = queue_.empty() ? next_seq_ : queue_.begin()->first;
    in_window_ = 0;
    next_resend_ = kNever;
  }
}

void EventClient::Impl::on_message(const Frames& frames) {
  const auto seq =
      frames.size() == 2 && as_text(frames[0]) == kAckFrame ? decode_seq(frames[1]) : std::nullopt;
  const std::lock_guard lock(mutex_);
  if (!seq) {
    ++stats_.malformed;
    return;
  }
  const auto it = queue_.find(*seq);
  if (it == queue_.end()) return;  // acknowledged twice, or a heartbeat that a newer one replaced
  erase(it);
  ++stats_.acked;
  acked_.notify_all();
}

EventClient::EventClient(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
EventClient::~EventClient() = default;

Result<std::unique_ptr<EventClient>> EventClient::create(EventClientOptions options) {
  auto impl = std::make_unique<Impl>(std::move(options));
  if (auto started = impl->start(); !started) return std::unexpected(started.error());
  return std::unique_ptr<EventClient>(new EventClient(std::move(impl)));
}

bool EventClient::send(const AgentId& source, const AgentEventBody& body) {
  auto [name, payload] = format_agent_event(body);
  return impl_->send(source, std::move(name), std::move(payload));
}
bool EventClient::send_raw(const AgentId& source, std::string name, std::string payload) {
  return impl_->send(source, std::move(name), std::move(payload));
}
bool EventClient::flush(Duration timeout) { return impl_->flush(timeout); }
EventClientStats EventClient::stats() const { return impl_->stats(); }

}  // namespace bai::server
