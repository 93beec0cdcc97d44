// The manager's end of the event channel.
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <set>
#include <thread>

#include "agent/event_channel.hpp"
#include "agent/event_wire.hpp"
#include "agent/zmq_socket.hpp"

namespace bai::server {
namespace {

constexpr int kLingerMs = 100;
constexpr int kListenBacklog = 4096;  // a whole cluster may dial at once
constexpr int kMessagesPerTurn = 1000;
constexpr std::size_t kMaxLoggedKinds = 64;
constexpr std::uint64_t kRouterToken = 1;
// Nobody waits for a heartbeat's acknowledgement: it goes out with the next thing to do, at the
// latest after this. A thousand agents would wake this thread twice as often otherwise.
constexpr auto kHeartbeatAckWait = std::chrono::milliseconds(50);
// So long heartbeats are collected and then handed on together, before whatever else arrives: the
// manager takes twenty turns a second for a thousand agents instead of one for each heartbeat.
constexpr auto kHeartbeatHold = std::chrono::milliseconds(50);
constexpr std::size_t kHeldHeartbeatsMax = 1000;

using EventKey = std::pair<std::string, std::uint64_t>;  // connection, sequence number

struct Outbox {
  explicit Outbox(Poller* to_wake) : poller(to_wake) {}
  std::mutex mutex;
  std::vector<std::pair<EventKey, bool>> done;
  bool is_woken = false;  // since `done` was last taken
  Poller* poller;         // null once the listener is gone

  void put(EventKey key, bool durable, bool may_wait) {
    const std::lock_guard lock(mutex);
    if (poller == nullptr) return;
    done.emplace_back(std::move(key), durable);
    if (!may_wait && !std::exchange(is_woken, true)) poller->wake();
  }
};

// Counts as refused when it is dropped without a call.
class DoneToken {
 public:
  DoneToken(std::shared_ptr<Outbox> outbox, EventKey key, bool may_wait)
      : outbox_(std::move(outbox)), key_(std::move(key)), may_wait_(may_wait) {}
  DoneToken(DoneToken&&) noexcept = default;
  DoneToken& operator=(DoneToken&&) = delete;
  ~DoneToken() { (*this)(false); }
  void operator()(bool durable) {
    if (auto outbox = std::exchange(outbox_, nullptr))
      outbox->put(std::move(key_), durable, may_wait_);
  }

 private:
  std::shared_ptr<Outbox> outbox_;
  EventKey key_;
  bool may_wait_;
};

}  // namespace

class EventListener::Impl {
 public:
  Impl(EventListenerOptions options, EventSink sink)
      : options_(std::move(options)), sink_(std::move(sink)) {}
  ~Impl();
  Status start();
  const std::string& addr() const noexcept { return addr_; }
  EventListenerStats stats() const {
    return {received_, acked_, repeated_, refused_, unknown_, malformed_, in_flight_};
  }

 private:
  void run();
  void drain();
  void on_message(const Frames& frames);
  void take_done();
  void hand_on_held();
  void ack(const EventKey& key);
  void log_once(const std::string& kind, const std::string& message);

  EventListenerOptions options_;
  EventSink sink_;
  std::string addr_;
  Poller poller_;
  std::shared_ptr<Outbox> outbox_ = std::make_shared<Outbox>(&poller_);
  ZmqContext context_;
  Socket router_;
  std::set<EventKey> open_;
  std::vector<std::pair<AgentEvent, EventKey>> held_;  // heartbeats; of `open_`
  std::chrono::steady_clock::time_point held_until_;
  std::set<std::string> logged_;
  Frames frames_;
  bool more_ = false;  // stopped reading for other work
  std::atomic<bool> stopping_{false};
  std::atomic<std::uint64_t> received_{0}, acked_{0}, repeated_{0}, refused_{0}, unknown_{0},
      malformed_{0}, in_flight_{0};
  std::thread thread_;
};

Status EventListener::Impl::start() {
  context_ = make_context();
  if (context_) router_ = Socket(context_, ZMQ_ROUTER);
  if (!router_ || !poller_.ok() || !router_.set(ZMQ_LINGER, kLingerMs) ||
      !router_.set(ZMQ_BACKLOG, kListenBacklog) ||
      !router_.set(ZMQ_SNDHWM, 0) ||  // acknowledgements are small and bounded by what was read
      !router_.set(ZMQ_MAXMSGSIZE, static_cast<std::int64_t>(options_.max_message_bytes)))
    return fail(ErrorCode::Unavailable, "The event listener cannot start: " + zmq_error());
  if (!options_.addr.starts_with("tcp://") || zmq_bind(router_.get(), options_.addr.c_str()) != 0)
    return fail(
        zmq_errno() == EADDRINUSE ? ErrorCode::AlreadyExists : ErrorCode::InvalidArgument,
        fmt::format("The event address `{}` cannot be opened (tcp://host:port is wanted): {}.",
                    options_.addr, zmq_error()));
  addr_ = router_.last_endpoint();
  if (!poller_.add(router_.fd(), kRouterToken))
    return fail(ErrorCode::Unavailable, "Out of file descriptors.");
  return start_thread(thread_, [this] { run(); });
}

EventListener::Impl::~Impl() {
  stopping_ = true;
  poller_.wake();
  if (thread_.joinable()) thread_.join();
  const std::lock_guard lock(outbox_->mutex);
  outbox_->poller = nullptr;
}

void EventListener::Impl::run() {
  using std::chrono::steady_clock;
  std::vector<std::uint64_t> ready;
  while (!stopping_) {
    drain();
    const auto now = steady_clock::now();
    if (!held_.empty() && now >= held_until_) hand_on_held();
    take_done();
    auto until = now;
    if (!more_) until += open_.empty() ? std::chrono::hours(1) : kHeartbeatAckWait;
    if (!held_.empty()) until = std::min(until, held_until_);
    poller_.wait(ready, until);
  }
  held_.clear();  // their agents send the next ones
  take_done();
  router_.close();
}

// Also when nothing may be read: `readable` makes libzmq take its signal back.
void EventListener::Impl::drain() {
  more_ = false;
  for (int n = 0; router_.readable() && open_.size() < options_.max_in_flight; ++n) {
    if (n == kMessagesPerTurn) {
      more_ = true;
      return;
    }
    if (router_.receive(frames_)) on_message(frames_);
  }
}

void EventListener::Impl::log_once(const std::string& kind, const std::string& message) {
  if (options_.log == nullptr || logged_.size() >= kMaxLoggedKinds || !logged_.insert(kind).second)
    return;
  options_.log->write(LogLevel::Warn, "agent-events",
                      message + " Further ones of the kind are only counted.");
}

void EventListener::Impl::on_message(const Frames& frames) {
  const auto seq = frames.size() == 7 && as_text(frames[1]) == kEventFrame ? decode_seq(frames[2])
                                                                           : std::nullopt;
  if (!seq) {
    ++malformed_;
    return log_once("frames", "A message that is no event arrived.");
  }
  EventKey key{std::string(frames[0].begin(), frames[0].end()), *seq};
  if (open_.contains(key)) {
    ++repeated_;
    return;
  }
  const std::string_view name = as_text(frames[3]), source = as_text(frames[4]);
  auto event = parse_agent_event(name, source, as_text(frames[5]));
  if (!event) {
    const bool unknown = event.error().code == ErrorCode::Unsupported;
    ++(unknown ? unknown_ : malformed_);
    const std::string shown = wire::valid_utf8(name.substr(0, 64));
    log_once((unknown ? "name " : "payload ") + shown,
             fmt::format("The event `{}` of {} is ignored: {}", shown,
                         wire::valid_utf8(source.substr(0, 64)), event.error().message));
    return ack(key);  // it can never succeed
  }
  ++received_;
  open_.insert(key);
  in_flight_ = open_.size();
  if (std::holds_alternative<AgentHeartbeat>(event->body)) {
    if (held_.empty()) held_until_ = std::chrono::steady_clock::now() + kHeartbeatHold;
    held_.emplace_back(*std::move(event), std::move(key));
    if (held_.size() >= kHeldHeartbeatsMax) hand_on_held();
    return;
  }
  hand_on_held();
  sink_(*std::move(event), DoneToken(outbox_, std::move(key), false));
}

void EventListener::Impl::hand_on_held() {
  for (auto& [event, key] : held_) {
    sink_(std::move(event), DoneToken(outbox_, std::move(key), true));
  }
  held_.clear();
}

void EventListener::Impl::take_done() {
  std::vector<std::pair<EventKey, bool>> done;
  {
    const std::lock_guard lock(outbox_->mutex);
    done.swap(outbox_->done);
    outbox_->is_woken = false;
  }
  if (done.empty()) return;
  for (const auto& [key, durable] : done) {
    open_.erase(key);
    in_flight_ = open_.size();
    if (durable)
      ack(key);
    else
      ++refused_;
  }
  more_ = true;  // there may be room for what was left unread, and sending hides its signals
}

void EventListener::Impl::ack(const EventKey& key) {
  const SeqBytes seq = encode_seq(key.second);
  ++acked_;
  router_.send({as_bytes(key.first), as_bytes(kAckFrame), seq});
}

EventListener::EventListener(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
EventListener::~EventListener() = default;

Result<std::unique_ptr<EventListener>> EventListener::create(EventListenerOptions options,
                                                             EventSink sink) {
  auto impl = std::make_unique<Impl>(std::move(options), std::move(sink));
  if (auto started = impl->start(); !started) return std::unexpected(started.error());
  return std::unique_ptr<EventListener>(new EventListener(std::move(impl)));
}

const std::string& EventListener::addr() const noexcept { return impl_->addr(); }
EventListenerStats EventListener::stats() const { return impl_->stats(); }

}  // namespace bai::server
