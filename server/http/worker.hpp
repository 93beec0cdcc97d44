// Internal to server/http: one io thread and what its connections share.
#pragma once

#include <array>
#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/ssl/context.hpp>
#include <asio/steady_timer.hpp>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <unordered_set>

#include "http/server.hpp"

namespace bai::http {

class Connection;

struct CounterCells {
  using Cell = std::atomic<std::uint64_t>;
  Cell open_connections{0}, open_streams{0}, accepted{0}, refused{0}, accept_errors{0}, requests{0},
      responses{0}, dropped_responders{0}, header_timeouts{0}, request_timeouts{0},
      idle_timeouts{0}, write_timeouts{0}, truncated_requests{0};
  std::array<Cell, kFramingErrorCount> framing_errors{};
};

// What all io threads share. Outlives every connection and every Responder.
struct Shared {
  ServerOptions options;
  Handler handler;
  CounterCells counters;
  std::optional<asio::ssl::context> tls;
  std::atomic<bool> stopping{false};
  std::mutex closed_mutex;  // with `closed`: stop() waits here for the last connection
  std::condition_variable closed;
};

class Worker : public std::enable_shared_from_this<Worker> {
 public:
  using Task = std::move_only_function<void()>;
  static constexpr std::size_t kReadBytes = 64 * 1024;

  explicit Worker(std::shared_ptr<Shared> shared);
  ~Worker();

  void start();
  // Cuts every connection, ends the thread and waits for it. Later posts are dropped.
  void finish();

  // Runs the task on the io thread: inline when already there. Dropped after finish().
  void dispatch(Task task);
  void post(Task task);  // never inline
  bool on_thread() const noexcept { return std::this_thread::get_id() == thread_id_.load(); }

  // The rest: io thread only.
  void adopt(asio::ip::tcp::socket socket, bool refuse);
  void forget(const std::shared_ptr<Connection>& connection);
  void drain_for_stop();  // asks every connection to end as soon as it decently can
  std::string_view date();

  asio::io_context& io() noexcept { return io_; }
  Shared& shared() noexcept { return *shared_; }
  // One read buffer for all connections of the thread: idle ones hold none.
  std::array<char, kReadBytes>& read_buffer() noexcept { return read_buffer_; }

 private:
  void sweep();

  std::shared_ptr<Shared> shared_;
  asio::io_context io_;
  asio::executor_work_guard<asio::io_context::executor_type> guard_;
  asio::steady_timer sweep_timer_;
  std::chrono::milliseconds sweep_every_;
  std::unordered_set<std::shared_ptr<Connection>> connections_;
  std::array<char, kReadBytes> read_buffer_{};
  bool finishing_ = false;
  std::int64_t date_second_ = -1;
  std::string date_;
  std::thread thread_;
  std::atomic<std::thread::id> thread_id_{};
  std::mutex post_mutex_;
  bool finished_ = false;  // under post_mutex_
};

}  // namespace bai::http
