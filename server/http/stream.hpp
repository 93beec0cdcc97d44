// Internal to server/http: the queue between a producer's threads and a streaming connection.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "http/responder.hpp"

namespace bai::http {

class Connection;

// Shared by the connection and the producer's handle. Holds the connection until it has ended.
class StreamCore : public std::enable_shared_from_this<StreamCore> {
 public:
  using Outcome = StreamWriter::Outcome;
  using Callback = StreamWriter::Callback;

  StreamCore(std::shared_ptr<Connection> connection, std::size_t limit);
  // A handle for the producer; when its last copy goes, the stream is abandoned.
  static StreamWriter writer(std::shared_ptr<StreamCore> core);

  // Producer side, any thread.
  Outcome write(std::string_view data);
  void close();
  void abandon();
  void on_disconnect(Callback callback);
  void on_drain(Callback callback);
  bool closed() const;

  // Connection side, io thread.
  struct Batch {
    std::string bytes;
    bool closing = false;
    bool abandoned = false;
  };
  Batch take();
  void set_in_flight(std::size_t bytes);  // taken but not yet written; 0 may wake on_drain
  void end();                             // the connection is through with it

 private:
  void wake(std::unique_lock<std::mutex> lock);

  mutable std::mutex mutex_;
  std::shared_ptr<Connection> connection_;  // null once ended
  const std::size_t limit_;
  std::string pending_;
  std::size_t in_flight_ = 0;
  bool closing_ = false;
  bool abandoned_ = false;
  bool ended_ = false;
  bool wake_posted_ = false;
  bool refused_ = false;  // a write was Full since the last on_drain
  Callback on_disconnect_;
  std::shared_ptr<Callback> on_drain_;
};

}  // namespace bai::http
