#include "http/stream.hpp"

#include "http/connection.hpp"

namespace bai::http {
namespace {

class Handle final : public StreamWriter::Channel {
 public:
  explicit Handle(std::shared_ptr<StreamCore> core) : core_(std::move(core)) {}
  ~Handle() override { core_->abandon(); }
  StreamWriter::Outcome write(std::string_view data) override { return core_->write(data); }
  void close() override { core_->close(); }
  void on_disconnect(StreamWriter::Callback callback) override {
    core_->on_disconnect(std::move(callback));
  }
  void on_drain(StreamWriter::Callback callback) override { core_->on_drain(std::move(callback)); }
  bool closed() const override { return core_->closed(); }

 private:
  std::shared_ptr<StreamCore> core_;
};

}  // namespace

StreamCore::StreamCore(std::shared_ptr<Connection> connection, std::size_t limit)
    : connection_(std::move(connection)), limit_(limit) {}

StreamWriter StreamCore::writer(std::shared_ptr<StreamCore> core) {
  return StreamWriter(std::make_shared<Handle>(std::move(core)));
}

// Always through the io thread's queue: a producer may call from inside a callback of ours.
void StreamCore::wake(std::unique_lock<std::mutex> lock) {
  if (wake_posted_ || !connection_) return;
  wake_posted_ = true;
  auto connection = connection_;
  lock.unlock();
  Worker& worker = connection->worker();
  worker.post([connection = std::move(connection)] { connection->pump_stream(); });
}

StreamWriter::Outcome StreamCore::write(std::string_view data) {
  std::unique_lock lock(mutex_);
  if (ended_ || closing_ || abandoned_) return Outcome::Closed;
  if (pending_.size() + in_flight_ >= limit_) {
    refused_ = true;
    return Outcome::Full;
  }
  pending_.append(data);
  wake(std::move(lock));
  return Outcome::Ok;
}

void StreamCore::close() {
  std::unique_lock lock(mutex_);
  if (ended_ || closing_) return;
  closing_ = true;
  wake(std::move(lock));
}

void StreamCore::abandon() {
  std::unique_lock lock(mutex_);
  if (ended_ || closing_ || abandoned_) return;
  abandoned_ = true;
  wake(std::move(lock));
}

void StreamCore::on_disconnect(Callback callback) {
  {
    std::scoped_lock lock(mutex_);
    if (!ended_) {
      std::swap(on_disconnect_, callback);
      return;
    }
  }
  if (callback) callback();
}

void StreamCore::on_drain(Callback callback) {
  auto shared = std::make_shared<Callback>(std::move(callback));
  std::scoped_lock lock(mutex_);
  if (!ended_) std::swap(on_drain_, shared);
}

bool StreamCore::closed() const {
  std::scoped_lock lock(mutex_);
  return ended_ || closing_;
}

StreamCore::Batch StreamCore::take() {
  std::scoped_lock lock(mutex_);
  wake_posted_ = false;
  in_flight_ += pending_.size();
  return {std::exchange(pending_, {}), closing_, abandoned_};
}

void StreamCore::set_in_flight(std::size_t bytes) {
  std::shared_ptr<Callback> drained;
  {
    std::scoped_lock lock(mutex_);
    in_flight_ = bytes;
    if (refused_ && in_flight_ + pending_.size() == 0) {
      refused_ = false;
      drained = on_drain_;
    }
  }
  if (drained && *drained) (*drained)();
}

void StreamCore::end() {
  Callback ended;
  std::shared_ptr<Callback> drained;
  std::shared_ptr<Connection> connection;
  {
    std::scoped_lock lock(mutex_);
    if (ended_) return;
    ended_ = true;
    ended = std::exchange(on_disconnect_, nullptr);
    drained = std::move(on_drain_);
    connection = std::move(connection_);
    pending_.clear();
  }
  if (ended) ended();
}

}  // namespace bai::http
