#include "agent/rpc_server.hpp"

#include <fmt/format.h>

#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <unordered_map>

#include "agent/codec.hpp"
#include "agent/zmq_socket.hpp"

namespace bai::server {
namespace {

constexpr int kLingerMs = 100;
constexpr int kListenBacklog = 4096;  // a whole cluster may dial at once
constexpr int kUnbindWaitMs = 500;
constexpr int kMessagesPerTurn = 1000;  // of one port, so that none starves the others
constexpr std::size_t kMaxPorts = 16384;
constexpr std::uint64_t kZapToken = 0;
constexpr std::string_view kZapAddr = "inproc://zeromq.zap.01";

// Which request: of which port, which connection, which number.
struct CallKey {
  std::uint64_t port = 0;
  Bytes peer;
  wire::OrderingKey okey;
  std::uint32_t seq = 0;
  auto tie() const { return std::tie(port, seq, peer, okey.data, okey.is_text); }
  bool operator<(const CallKey& other) const { return tie() < other.tie(); }
};

struct Answer {
  CallKey key;
  wire::MessageType type = wire::MessageType::Result;
  std::string method;
  Bytes body;
  bool send = true;  // false: abandoned
};

// Where repliers put their answers; outlives the server as long as repliers do.
struct Outbox {
  explicit Outbox(Poller* to_wake) : poller(to_wake) {}
  std::mutex mutex;
  std::vector<Answer> answers;
  Poller* poller;  // null once the server is gone

  void put(Answer answer) {
    const std::lock_guard lock(mutex);
    if (poller == nullptr) return;
    answers.push_back(std::move(answer));
    if (answers.size() == 1) poller->wake();
  }
};

}  // namespace

// ---- replier ------------------------------------------------------------------------------------

class RpcReplier::State {
 public:
  State(std::shared_ptr<Outbox> outbox, CallKey key, std::string method, wire::Limits limits)
      : outbox_(std::move(outbox)),
        key_(std::move(key)),
        method_(std::move(method)),
        limits_(limits) {}

  void answer(wire::MessageType type, Bytes body, bool send = true) {
    {
      const std::lock_guard lock(mutex_);
      on_cancel_ = nullptr;
    }
    outbox_->put({key_, type, method_, std::move(body), send});
  }
  const wire::Limits& limits() const noexcept { return limits_; }
  bool cancelled() const noexcept { return cancelled_.load(); }
  void cancel() {
    std::move_only_function<void()> callback;
    {
      const std::lock_guard lock(mutex_);
      cancelled_ = true;
      callback = std::move(on_cancel_);
      on_cancel_ = nullptr;
    }
    if (callback) callback();
  }
  void on_cancel(std::move_only_function<void()> callback) {
    {
      const std::lock_guard lock(mutex_);
      if (!cancelled_) {
        on_cancel_ = std::move(callback);
        return;
      }
    }
    callback();
  }

 private:
  std::shared_ptr<Outbox> outbox_;
  const CallKey key_;
  const std::string method_;
  const wire::Limits limits_;
  std::atomic<bool> cancelled_{false};
  std::mutex mutex_;  // guards on_cancel_
  std::move_only_function<void()> on_cancel_;
};

RpcReplier::RpcReplier(std::shared_ptr<State> state) : state_(std::move(state)) {}
RpcReplier::~RpcReplier() {
  if (state_) fail("RuntimeError", "The agent dropped the call without an answer.");
}
RpcReplier& RpcReplier::operator=(RpcReplier&& other) noexcept {
  RpcReplier old(std::move(*this));
  state_ = std::move(other.state_);
  return *this;
}

void RpcReplier::ok(Json value) {
  if (!state_) return;
  auto body = wire::encode_result(value, state_->limits());
  if (!body) return fail("ValueError", body.error().message);
  std::exchange(state_, nullptr)->answer(wire::MessageType::Result, *std::move(body));
}

void RpcReplier::ok_bytes(Bytes data) {
  if (!state_) return;
  Bytes body = wire::encode_result_bytes(data);
  if (body.size() > state_->limits().max_frame_bytes)
    return fail("ValueError", fmt::format("The result has {} bytes; at most {} fit.", body.size(),
                                          state_->limits().max_frame_bytes));
  std::exchange(state_, nullptr)->answer(wire::MessageType::Result, std::move(body));
}

void RpcReplier::fail(std::string_view kind, std::string_view message, std::string_view traceback) {
  if (!state_) return;
  std::exchange(state_, nullptr)
      ->answer(wire::MessageType::Failure, wire::encode_failure(kind, message, traceback));
}

void RpcReplier::abandon() {
  if (state_) std::exchange(state_, nullptr)->answer(wire::MessageType::Null, {}, false);
}

bool RpcReplier::cancelled() const noexcept { return state_ && state_->cancelled(); }
void RpcReplier::on_cancel(std::move_only_function<void()> callback) {
  if (state_) state_->on_cancel(std::move(callback));
}

// ---- server -------------------------------------------------------------------------------------

class RpcServer::Impl {
 public:
  Impl(RpcServerOptions options, RpcHandler handler)
      : options_(std::move(options)), handler_(std::move(handler)) {
    limits_.max_frame_bytes = options_.max_frame_bytes;
  }
  ~Impl();
  Status start();
  Result<std::string> bind(const std::string& addr, AgentId primary);
  Status unbind(const std::string& addr);
  RpcServerStats stats() const;

 private:
  struct Port {
    std::uint64_t id = 0;
    std::string addr;
    AgentId primary;
    Socket router;
  };
  // A call into the I/O thread; the caller waits.
  struct Job {
    std::move_only_function<void()> run;
    bool done = false;
  };

  bool on_io_thread(std::move_only_function<void()> run);
  void run();
  void run_jobs();
  Result<std::string> open_port(const std::string& addr, AgentId primary);
  Status close_port(const std::string& addr);
  void stop_listening(Port& port);
  void drain(Port& port);
  void on_message(Port& port, Frames& frames);
  void on_function(Port& port, Frames& frames, wire::Header header);
  void on_cancel(Port& port, Frames& frames, const wire::Header& header);
  void send(Port& port, const Bytes& peer, const wire::Header& header, const Bytes& body);
  void reject(Port& port, const Bytes& peer, wire::Header header, std::string_view kind,
              std::string_view message);
  void malformed(const Port& port, std::string_view why);
  void send_answers();
  void drain_zap();

  RpcServerOptions options_;
  RpcHandler handler_;
  wire::Limits limits_;
  Poller poller_;
  std::shared_ptr<Outbox> outbox_ = std::make_shared<Outbox>(&poller_);
  ZmqContext context_;
  Socket zap_;

  std::mutex mutex_;  // guards jobs_ and stopping_
  std::condition_variable job_done_;
  std::vector<Job*> jobs_;
  bool stopping_ = false;

  std::map<std::uint64_t, Port> ports_;  // tokens from 1
  std::uint64_t next_port_ = 1;
  std::map<CallKey, std::shared_ptr<RpcReplier::State>> open_;
  std::set<std::string, std::less<>> logged_;
  std::vector<std::uint64_t> unfinished_;
  Frames frames_;
  std::atomic<std::uint64_t> requests_{0}, replies_{0}, pings_{0}, cancels_{0}, malformed_{0},
      rejected_{0}, auth_denied_{0}, in_flight_{0};
  std::thread thread_;
};

Status RpcServer::Impl::start() {
  context_ = make_context();
  if (!context_ || !poller_.ok())
    return fail(ErrorCode::Unavailable, "The RPC server cannot start: out of file descriptors.");
  if (!options_.keys.empty()) {
    if (!is_curve_key(options_.keys.secret_key) || !is_curve_key(options_.manager_public_key))
      return fail(ErrorCode::InvalidArgument,
                  "CURVE needs the agent's secret key and the manager's public key, each 40 "
                  "characters of Z85.");
    zap_ = Socket(context_, ZMQ_ROUTER);
    if (!zap_ || !zap_.set(ZMQ_LINGER, 0) || zmq_bind(zap_.get(), kZapAddr.data()) != 0 ||
        !poller_.add(zap_.fd(), kZapToken))
      return fail(ErrorCode::Unavailable, "The CURVE authenticator cannot start: " + zmq_error());
  }
  return start_thread(thread_, [this] { run(); });
}

RpcServer::Impl::~Impl() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  poller_.wake();
  if (thread_.joinable()) thread_.join();
  const std::lock_guard lock(outbox_->mutex);
  outbox_->poller = nullptr;
}

bool RpcServer::Impl::on_io_thread(std::move_only_function<void()> run) {
  Job job{std::move(run)};
  std::unique_lock lock(mutex_);
  if (stopping_) return false;
  jobs_.push_back(&job);
  poller_.wake();
  job_done_.wait(lock, [&] { return job.done; });
  return true;
}

Result<std::string> RpcServer::Impl::bind(const std::string& addr, AgentId primary) {
  Result<std::string> result = fail(ErrorCode::Unavailable, "The RPC server has stopped.");
  on_io_thread([&] { result = open_port(addr, std::move(primary)); });
  return result;
}

Status RpcServer::Impl::unbind(const std::string& addr) {
  Status result = fail(ErrorCode::Unavailable, "The RPC server has stopped.");
  on_io_thread([&] { result = close_port(addr); });
  return result;
}

RpcServerStats RpcServer::Impl::stats() const {
  return {requests_, replies_, pings_, cancels_, malformed_, rejected_, auth_denied_, in_flight_};
}

void RpcServer::Impl::run() {
  std::vector<std::uint64_t> ready;
  for (;;) {
    using std::chrono::steady_clock;
    poller_.wait(ready, steady_clock::now() + std::chrono::hours(unfinished_.empty() ? 1 : 0));
    ready.insert(ready.end(), unfinished_.begin(), unfinished_.end());
    unfinished_.clear();
    for (const std::uint64_t token : ready) {
      const auto port = ports_.find(token);
      if (token == kZapToken)
        drain_zap();
      else if (port != ports_.end())
        drain(port->second);
    }
    send_answers();
    run_jobs();
    const std::lock_guard lock(mutex_);
    if (stopping_) break;
  }
  run_jobs();
  send_answers();
  open_.clear();
  ports_.clear();
  zap_.close();
}

void RpcServer::Impl::run_jobs() {
  std::vector<Job*> jobs;
  {
    const std::lock_guard lock(mutex_);
    jobs.swap(jobs_);
  }
  if (jobs.empty()) return;
  for (Job* job : jobs) job->run();
  const std::lock_guard lock(mutex_);
  for (Job* job : jobs) job->done = true;
  job_done_.notify_all();
}

Result<std::string> RpcServer::Impl::open_port(const std::string& addr, AgentId primary) {
  if (!addr.starts_with("tcp://"))
    return fail(ErrorCode::InvalidArgument,
                fmt::format("`{}` must have the form tcp://host:port.", addr));
  if (ports_.size() >= kMaxPorts)
    return fail(ErrorCode::Unavailable, fmt::format("{} ports are open already.", ports_.size()));
  Port port{next_port_, {}, std::move(primary), Socket(context_, ZMQ_ROUTER)};
  // Replies are bounded by max_in_flight, not by libzmq's queues, which drop silently.
  if (!port.router || !port.router.set(ZMQ_LINGER, kLingerMs) ||
      !port.router.set(ZMQ_BACKLOG, kListenBacklog) || !port.router.set(ZMQ_SNDHWM, 0) ||
      !port.router.set(ZMQ_MAXMSGSIZE, static_cast<std::int64_t>(limits_.max_frame_bytes)) ||
      (!options_.keys.empty() && !set_curve_server(port.router, options_.keys)))
    return fail(ErrorCode::Unavailable, "No socket can be opened: " + zmq_error());
  if (zmq_bind(port.router.get(), addr.c_str()) != 0)
    return fail(zmq_errno() == EADDRINUSE ? ErrorCode::AlreadyExists : ErrorCode::InvalidArgument,
                fmt::format("{} cannot be opened: {}.", addr, zmq_error()));
  port.addr = port.router.last_endpoint();
  if (!poller_.add(port.router.fd(), port.id))
    return fail(ErrorCode::Unavailable, "Out of file descriptors.");
  ++next_port_;
  Port& placed = ports_.emplace(port.id, std::move(port)).first->second;
  drain(placed);
  return placed.addr;
}

Status RpcServer::Impl::close_port(const std::string& addr) {
  for (auto it = ports_.begin(); it != ports_.end(); ++it) {
    Port& port = it->second;
    if (port.addr != addr) continue;
    poller_.remove(port.router.fd());
    stop_listening(port);
    std::erase_if(open_, [&](const auto& call) { return call.first.port == port.id; });
    in_flight_ = open_.size();
    ports_.erase(it);
    return {};
  }
  return fail(ErrorCode::NotFound, fmt::format("{} is not open.", addr));
}

// Returns when the address is free again, so that it can be bound next.
void RpcServer::Impl::stop_listening(Port& port) {
  Socket monitor = open_monitor(context_, port.router, fmt::format("port-{}", port.id),
                                ZMQ_EVENT_CLOSED | ZMQ_EVENT_CLOSE_FAILED);
  port.router.set(ZMQ_LINGER, 0);
  if (zmq_unbind(port.router.get(), port.addr.c_str()) == 0 && monitor) {
    zmq_pollitem_t item{monitor.get(), 0, ZMQ_POLLIN, 0};
    zmq_poll(&item, 1, kUnbindWaitMs);
  }
  zmq_socket_monitor(port.router.get(), nullptr, 0);
}

void RpcServer::Impl::drain(Port& port) {
  for (int n = 0; port.router.readable(); ++n) {
    if (n == kMessagesPerTurn) return unfinished_.push_back(port.id);
    if (port.router.receive(frames_)) on_message(port, frames_);
  }
}

void RpcServer::Impl::malformed(const Port& port, std::string_view why) {
  ++malformed_;
  constexpr std::size_t kMaxLoggedKinds = 64;
  if (options_.log == nullptr || logged_.size() >= kMaxLoggedKinds || !logged_.emplace(why).second)
    return;
  options_.log->write(LogLevel::Warn, "agent-rpc",
                      fmt::format("A malformed message arrived at {}: {} Further ones of the kind "
                                  "are only counted.",
                                  port.addr, why));
}

void RpcServer::Impl::on_message(Port& port, Frames& frames) {
  if (frames.size() != 4) return malformed(port, "It has not three frames.");
  const std::string_view kind = as_text(frames[1]);
  if (kind == wire::kPing) {
    ++pings_;
    port.router.send({frames[0], as_bytes(wire::kPong), frames[2], frames[3]});
    return;
  }
  if (kind == wire::kPong) return;
  if (kind != wire::kUpper) return malformed(port, "Its type is none of PING, PONG and UPPER.");
  auto header = wire::decode_header(frames[2]);
  if (!header) return malformed(port, header.error().message);
  if (header->type == wire::MessageType::Function)
    on_function(port, frames, *std::move(header));
  else if (header->type == wire::MessageType::Cancel)
    on_cancel(port, frames, *header);
  else
    malformed(port, "It is neither a call nor a cancel.");
}

void RpcServer::Impl::on_function(Port& port, Frames& frames, wire::Header header) {
  ++requests_;
  const Bytes& peer = frames[0];
  CallKey key{port.id, peer, header.okey, header.seq};
  auto function = wire::decode_function(header, frames[3], limits_);
  if (!function)
    return reject(port, peer, std::move(header),
                  function.error().kind.empty() ? "ValueError" : function.error().kind,
                  function.error().message);
  if (open_.size() >= options_.max_in_flight)
    return reject(port, peer, std::move(header), "ResourceError",
                  fmt::format("{} calls are open already; try again later.", open_.size()));
  if (open_.contains(key)) return malformed(port, "Its number is that of an open call.");
  auto state = std::make_shared<RpcReplier::State>(outbox_, key, header.method, limits_);
  open_.emplace(std::move(key), state);
  in_flight_ = open_.size();
  handler_({function->agent.empty() ? port.primary : std::move(function->agent),
            std::move(header.method), std::move(function->request)},
           RpcReplier(std::move(state)));
}

void RpcServer::Impl::on_cancel(Port& port, Frames& frames, const wire::Header& header) {
  const auto it = open_.find({port.id, frames[0], header.okey, header.seq});
  if (it == open_.end()) return;  // answered already
  ++cancels_;
  const auto state = std::move(it->second);
  open_.erase(it);
  in_flight_ = open_.size();
  wire::Header reply = header;
  reply.type = wire::MessageType::Cancelled;
  send(port, frames[0], reply, wire::encode_cancel());
  state->cancel();
}

void RpcServer::Impl::send(Port& port, const Bytes& peer, const wire::Header& header,
                           const Bytes& body) {
  port.router.send({peer, as_bytes(wire::kUpper), wire::encode_header(header), body});
}

void RpcServer::Impl::reject(Port& port, const Bytes& peer, wire::Header header,
                             std::string_view kind, std::string_view message) {
  ++rejected_;
  header.type = wire::MessageType::Failure;
  send(port, peer, header, wire::encode_failure(kind, message, {}));
}

void RpcServer::Impl::send_answers() {
  std::vector<Answer> answers;
  {
    const std::lock_guard lock(outbox_->mutex);
    answers.swap(outbox_->answers);
  }
  std::set<std::uint64_t> touched;
  for (Answer& answer : answers) {
    const auto call = open_.find(answer.key);
    if (call == open_.end()) continue;  // cancelled, or its port is closed
    open_.erase(call);
    in_flight_ = open_.size();
    const auto port = ports_.find(answer.key.port);
    if (!answer.send || port == ports_.end()) continue;
    ++replies_;
    touched.insert(port->first);
    send(port->second, answer.key.peer,
         {answer.type, std::move(answer.method), answer.key.okey, answer.key.seq}, answer.body);
  }
  for (const std::uint64_t id : touched) drain(ports_.at(id));
}

// RFC 27: [peer, "", version, request id, domain, address, identity, mechanism, client key]
void RpcServer::Impl::drain_zap() {
  while (zap_.readable()) {
    Frames f;
    if (!zap_.receive(f) || f.size() != 9) continue;
    std::array<char, kCurveKeyChars + 1> client{};
    const bool admitted = as_text(f[4]) == kZapDomain && as_text(f[7]) == "CURVE" &&
                          f[8].size() == 32 && zmq_z85_encode(client.data(), f[8].data(), 32) &&
                          options_.manager_public_key == client.data();
    if (!admitted) ++auth_denied_;
    const auto text = [](std::string_view s) { return as_bytes(s); };
    zap_.send({f[0],
               {},
               text("1.0"),
               f[3],
               text(admitted ? "200" : "400"),
               text(admitted ? "OK" : "This client key is not the manager's."),
               text(admitted ? "manager" : ""),
               {}});
  }
}

// ---- the public face ----------------------------------------------------------------------------

RpcServer::RpcServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
RpcServer::~RpcServer() = default;

Result<std::unique_ptr<RpcServer>> RpcServer::create(RpcServerOptions options, RpcHandler handler) {
  auto impl = std::make_unique<Impl>(std::move(options), std::move(handler));
  if (auto started = impl->start(); !started) return std::unexpected(started.error());
  return std::unique_ptr<RpcServer>(new RpcServer(std::move(impl)));
}

Result<std::string> RpcServer::bind(const std::string& addr, AgentId primary) {
  return impl_->bind(addr, std::move(primary));
}
Status RpcServer::unbind(const std::string& addr) { return impl_->unbind(addr); }
RpcServerStats RpcServer::stats() const { return impl_->stats(); }

}  // namespace bai::server
