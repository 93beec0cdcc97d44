#include "http/worker.hpp"

#include <algorithm>
#include <asio/post.hpp>
#include <vector>

#include "http/connection.hpp"
#include "http/text.hpp"

namespace bai::http {
namespace {

// Deadlines are kept by looking at every connection once in a while: an idle one costs no timer.
std::chrono::milliseconds sweep_interval(const ServerOptions& options) {
  const auto shortest = std::min({options.header_deadline, options.request_deadline,
                                  options.idle_timeout, options.write_deadline, options.linger});
  return std::chrono::milliseconds(std::clamp<std::int64_t>(shortest.ms() / 4, 10, 1000));
}

}  // namespace

Worker::Worker(std::shared_ptr<Shared> shared)
    : shared_(std::move(shared)),
      io_(1),
      guard_(asio::make_work_guard(io_)),
      sweep_timer_(io_),
      sweep_every_(sweep_interval(shared_->options)) {}

Worker::~Worker() = default;

void Worker::start() {
  sweep();
  thread_ = std::thread([this] {
    thread_id_ = std::this_thread::get_id();
    io_.run();
    thread_id_ = std::thread::id{};  // the system may give the id to another thread
  });
}

void Worker::finish() {
  post([this] {
    finishing_ = true;
    sweep_timer_.cancel();
    const auto connections = connections_;
    for (const auto& connection : connections) connection->close();
  });
  guard_.reset();
  if (thread_.joinable()) thread_.join();
  {
    std::scoped_lock lock(post_mutex_);
    finished_ = true;
  }
  // Tasks posted behind the last look of the io thread; they find their connections closed.
  io_.restart();
  io_.poll();
}

void Worker::dispatch(Task task) {
  if (on_thread()) {
    task();
  } else {
    post(std::move(task));
  }
}

void Worker::post(Task task) {
  std::scoped_lock lock(post_mutex_);
  if (!finished_) asio::post(io_, std::move(task));
}

void Worker::adopt(asio::ip::tcp::socket socket, bool refuse) {
  auto connection = std::make_shared<Connection>(shared_from_this(), std::move(socket));
  connections_.insert(connection);
  if (shared_->stopping) {
    connection->close();
  } else if (refuse) {
    connection->start_refused();
  } else {
    connection->start();
  }
}

void Worker::forget(const std::shared_ptr<Connection>& connection) {
  connections_.erase(connection);
}

void Worker::drain_for_stop() {
  const auto connections = connections_;
  for (const auto& connection : connections) connection->end_for_stop();
}

std::string_view Worker::date() {
  const auto second = std::chrono::duration_cast<std::chrono::seconds>(
                          std::chrono::system_clock::now().time_since_epoch())
                          .count();
  if (second != date_second_) {
    date_second_ = second;
    date_ = http_date(second);
  }
  return date_;
}

void Worker::sweep() {
  sweep_timer_.expires_after(sweep_every_);
  sweep_timer_.async_wait([this](std::error_code error) {
    if (error || finishing_) return;
    const auto now = std::chrono::steady_clock::now();
    std::vector<std::shared_ptr<Connection>> connections(connections_.begin(), connections_.end());
    for (const auto& connection : connections) connection->check_deadlines(now);
    sweep();
  });
}

}  // namespace bai::http
